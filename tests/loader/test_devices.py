"""Every device passes the same suite; what is particular to one is below it."""

from __future__ import annotations

from pathlib import Path

import pytest

from glowplug.loader.devices import device as device_called
from glowplug.loader.devices import kernels
from glowplug.loader.devices.base import Device, not_wanted
from glowplug.loader.devices.cpu import CpuDevice
from glowplug.loader.devices.cuda import card_bytes, cards
from glowplug.loader.devices.virtual import Profile, VirtualDevice
from glowplug.loader.errors import DeviceFailed
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
def test_a_card_that_loads_kernels_keeps_no_memory_of_it() -> None:
    torch = pytest.importorskip("torch", reason="needs the torch extra")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    card, model = device_called("cuda"), torch.nn.Linear(4096, 4096)
    with torch.inference_mode():
        right = model(torch.ones(1, 4096))
        recorded = kernels.record(lambda: model(torch.ones(1, 4096)))
        assert kernels.replay([recorded], "cuda:0", not_wanted) == 1
        card.warm()
        torch.cuda.empty_cache()
        before = torch.cuda.memory_reserved()
        card.warm([recorded])
        assert torch.cuda.memory_reserved() <= before
        assert torch.allclose(model.cuda()(torch.ones(1, 4096, device="cuda")).cpu(), right, atol=1e-3)
        assert torch.empty(2**30, dtype=torch.uint8, device="cuda").nbytes == 2**30, "and bounds nobody"


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


def test_virtual_bytes_come_to_who_waits_for_them() -> None:
    clock = ManualClock()
    card = VirtualDevice(Profile(1000, 100.0), clock)
    memory = card.allocate(card.reserve(100))
    before = memory.tobytes()
    copy = card.copy(memoryview(bytes(range(100))), memory, 0)
    assert not copy.done()
    assert memory.tobytes() == before
    clock.wait_until(copy.ready_s)
    assert copy.done()
    assert memory.tobytes() == bytes(range(100))


def test_a_context_is_waited_for_once() -> None:
    clock = ManualClock()
    card = VirtualDevice(Profile(1000, 100.0, context_bytes=300, context_s=2.0), clock)
    card.open_context()
    card.open_context()
    assert (clock.now_s(), card.context_bytes) == (102.0, 300)


def test_no_run_is_shorter_than_the_profile_says() -> None:
    clock = ManualClock()
    card = VirtualDevice(Profile(1000, 100.0, run_s=0.5), clock)
    assert card.run(clock.now_s) == 100.0
    assert clock.now_s() == 100.5
    card.run(lambda: clock.wait_until(clock.now_s() + 3.0))
    assert clock.now_s() == 103.5


def test_a_slow_device_takes_longer_for_all_that_begins() -> None:
    clock, paces = ManualClock(), [1.0]
    card = VirtualDevice(Profile(1000, 100.0, run_s=0.5, context_s=1.0), clock, pace=lambda: paces[0])
    before = card.place(memoryview(bytearray(100)), card.reserve(100))
    paces[0] = 10.0
    after = card.place(memoryview(bytearray(100)), card.reserve(100))
    assert (before.took_s, after.took_s) == (1.0, 10.0)
    after.wait()
    assert clock.now_s() == 111.0
    card.run(lambda: clock.wait_until(clock.now_s() + 2.0))
    assert clock.now_s() == 131.0
    card.open_context()
    assert clock.now_s() == 141.0


def test_copies_fail_when_they_are_told_to() -> None:
    clock = ManualClock()
    card = VirtualDevice(Profile(1000, 100.0), clock, "card")
    card.fail_copies(1)
    bad = card.place(memoryview(bytearray(100)), card.reserve(100))
    good = card.place(memoryview(bytearray(100)), card.reserve(100))
    with pytest.raises(DeviceFailed, match="card failed to copy 100 bytes"):
        bad.wait()
    assert clock.now_s() == 101.0, "that takes as long as one that does not"
    good.wait()


def test_cards_are_found_by_their_device_files(tmp_path: Path) -> None:
    for name in ("nvidia1", "nvidia0", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert cards(tmp_path) == (0, 1)
    assert cards(tmp_path / "nowhere") == ()


@pytest.mark.gpu
def test_what_is_free_on_a_card_can_be_asked() -> None:
    if not cards():
        pytest.skip("needs a CUDA device")
    assert card_bytes(cards()[0]) > 0


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "", "cpu:-1"])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="kinds are cpu, cuda, virtual"):
        device_called(name)


def test_there_is_one_cpu() -> None:
    with pytest.raises(RuntimeError, match="cpu:1"):
        device_called("cpu:1")
