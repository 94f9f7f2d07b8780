"""Every device passes the same suite; what is particular to one is below it."""

from __future__ import annotations

import pytest

from glowplug.loader.devices import device as device_called
from glowplug.loader.devices.base import Device
from glowplug.loader.devices.cpu import CpuDevice
from glowplug.loader.devices.virtual import Profile, VirtualDevice
from glowplug.testing.device_suite import SPACE_BYTES, DeviceSuite


class ManualClock:
    """Time moves only when someone waits."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def now_s(self) -> float:
        return self.at_s

    def wait_until(self, at_s: float) -> None:
        self.at_s = max(self.at_s, at_s)


class TestCpu(DeviceSuite):
    @pytest.fixture
    def device(self) -> Device:
        return CpuDevice(2 * SPACE_BYTES)


class TestVirtual(DeviceSuite):
    @pytest.fixture
    def device(self) -> Device:
        return VirtualDevice(Profile(2 * SPACE_BYTES, 1e9), ManualClock())


@pytest.mark.gpu
class TestCuda(DeviceSuite):
    @pytest.fixture
    def device(self) -> Device:
        torch = pytest.importorskip("torch", reason="needs the torch extra")
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
        return device_called("cuda")


def test_the_cpu_moves_nothing() -> None:
    weights = memoryview(bytearray(10))
    cpu = device_called("cpu")
    assert cpu.place(weights, cpu.reserve(10)).memory is weights


def test_virtual_copies_take_their_time_one_after_another() -> None:
    clock = ManualClock()
    card = VirtualDevice(Profile(capacity_bytes=1000, copy_bytes_per_s=100.0, latency_s=0.5), clock)
    one = card.place(memoryview(bytearray(100)), card.reserve(100))
    two = card.place(memoryview(bytearray(200)), card.reserve(200))
    assert not one.done()
    one.wait()
    assert clock.now_s() == 101.5
    assert not two.done()
    assert card.run(clock.now_s, after=two) == 104.0


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "", "cpu:-1"])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="kinds are cpu, cuda, virtual"):
        device_called(name)


def test_there_is_one_cpu() -> None:
    with pytest.raises(RuntimeError, match="cpu:1"):
        device_called("cpu:1")
