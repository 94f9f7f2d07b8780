"""What every `loader.devices` Device must do. Subclass it and give `device`:

    class TestMine(DeviceSuite):
        @pytest.fixture
        def device(self):
            return MyDevice(capacity_bytes=2**20)

The device needs at least `SPACE_BYTES` free when a test begins.
"""

from __future__ import annotations

import threading

import pytest

from glowplug.loader.devices.base import Device, Reservation
from glowplug.loader.errors import DeviceFull

SPACE_BYTES = 64 * 2**10


class DeviceSuite:
    def test_a_reservation_takes_exactly_its_bytes(self, device: Device) -> None:
        before = device.free_bytes
        device.reserve(1000)
        assert device.free_bytes == before - 1000

    def test_a_fresh_device_has_all_its_capacity(self, device: Device) -> None:
        assert device.free_bytes == device.capacity_bytes

    def test_a_context_is_open_before_anything_lies_there(self, device: Device) -> None:
        assert 0 <= device.context_bytes <= device.capacity_bytes
        before = device.free_bytes
        device.open_context()
        device.open_context()
        assert device.free_bytes == before, "whoever counts reserves it"
        assert device.run(lambda: 42) == 42

    def test_what_is_warm_has_a_context_and_takes_nothing_from_who_counts(self, device: Device) -> None:
        before = device.free_bytes
        device.warm()
        device.warm([b"no record"], lambda: True)
        assert device.free_bytes == before
        assert device.run(lambda: 42) == 42

    def test_release_gives_back_once(self, device: Device) -> None:
        first, second = device.reserve(1000), device.reserve(2000)
        device.release(first)
        device.release(first)
        assert device.free_bytes == device.capacity_bytes - second.nbytes

    def test_everything_can_be_reserved_and_no_byte_more(self, device: Device) -> None:
        whole = device.reserve(device.free_bytes)
        with pytest.raises(DeviceFull, match="1 are needed"):
            device.reserve(1)
        device.release(whole)
        assert device.free_bytes == device.capacity_bytes

    def test_nothing_can_be_reserved_too(self, device: Device) -> None:
        device.release(device.reserve(0))

    def test_a_negative_size_is_refused(self, device: Device) -> None:
        with pytest.raises(ValueError, match="-1"):
            device.reserve(-1)

    def test_placed_weights_arrive_unchanged(self, device: Device) -> None:
        weights = _pattern(SPACE_BYTES)
        placement = device.place(weights, device.reserve(SPACE_BYTES))
        placement.wait()
        assert placement.done()
        assert _bytes_of(placement.memory) == weights.tobytes()

    def test_placing_nothing_works(self, device: Device) -> None:
        placement = device.place(memoryview(bytearray()), device.reserve(0))
        placement.wait()
        assert _bytes_of(placement.memory) == b""

    def test_two_placements_do_not_touch_each_other(self, device: Device) -> None:
        one = device.place(_pattern(4096, 1), device.reserve(4096))
        two = device.place(_pattern(4096, 2), device.reserve(4096))
        two.wait()
        one.wait()
        assert _bytes_of(one.memory) == _pattern(4096, 1).tobytes()
        assert _bytes_of(two.memory) == _pattern(4096, 2).tobytes()

    def test_parts_copied_in_any_order_make_the_whole(self, device: Device) -> None:
        whole = _pattern(SPACE_BYTES)
        memory = device.allocate(device.reserve(SPACE_BYTES))
        part_bytes = SPACE_BYTES // 4
        placements = [
            device.copy(whole[start : start + part_bytes], memory, start)
            for start in (2 * part_bytes, 0, 3 * part_bytes, part_bytes)
        ]
        for placement in placements:
            placement.wait()
            assert placement.done()
        assert _bytes_of(memory) == whole.tobytes()

    def test_work_after_a_guard_sees_the_part(self, device: Device) -> None:
        memory = device.allocate(device.reserve(4096))
        device.copy(_pattern(4096), memory, 0).guard()
        assert device.run(lambda: _bytes_of(memory)) == _pattern(4096).tobytes()

    def test_a_guard_covers_the_parts_before_it(self, device: Device) -> None:
        memory = device.allocate(device.reserve(2 * 4096))
        device.copy(_pattern(4096, 1), memory, 0)
        device.copy(_pattern(4096, 2), memory, 4096).guard()
        expected = _pattern(4096, 1).tobytes() + _pattern(4096, 2).tobytes()
        assert device.run(lambda: _bytes_of(memory)) == expected

    def test_a_part_that_reaches_past_the_end_is_refused(self, device: Device) -> None:
        memory = device.allocate(device.reserve(100))
        for offset in (-1, 91, 200):
            with pytest.raises(ValueError, match="do not fit"):
                device.copy(_pattern(10), memory, offset)

    def test_staging_memory_is_host_memory_of_its_size(self, device: Device) -> None:
        staging = device.staging(4096)
        staging[:] = _pattern(4096)
        memory = device.allocate(device.reserve(4096))
        device.copy(staging, memory, 0).wait()
        assert _bytes_of(memory) == _pattern(4096).tobytes()

    def test_a_released_reservation_has_no_room(self, device: Device) -> None:
        reservation = device.reserve(10)
        device.release(reservation)
        with pytest.raises(ValueError, match="released"):
            device.allocate(reservation)

    def test_weights_larger_than_their_reservation_are_refused(self, device: Device) -> None:
        with pytest.raises(ValueError, match="do not fit"):
            device.place(_pattern(11), device.reserve(10))

    def test_a_released_reservation_takes_nothing(self, device: Device) -> None:
        reservation = device.reserve(10)
        device.release(reservation)
        with pytest.raises(ValueError, match="released"):
            device.place(_pattern(10), reservation)

    def test_work_runs_after_its_weights_have_arrived(self, device: Device) -> None:
        placement = device.place(_pattern(SPACE_BYTES), device.reserve(SPACE_BYTES))
        assert device.run(placement.done, after=placement) is True

    def test_run_returns_and_raises_what_its_work_does(self, device: Device) -> None:
        def fail() -> None:
            raise KeyError("ours")

        assert device.run(lambda: 42) == 42
        with pytest.raises(KeyError, match="ours"):
            device.run(fail)

    def test_threads_never_reserve_more_than_there_is(self, device: Device) -> None:
        share = device.capacity_bytes // 10
        got: list[Reservation] = []

        def grab() -> None:
            for _ in range(5):
                try:
                    got.append(device.reserve(share))
                except DeviceFull:
                    return

        threads = [threading.Thread(target=grab) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 10
        assert len({reservation.number for reservation in got}) == 10
        assert device.free_bytes == device.capacity_bytes - 10 * share


def _pattern(nbytes: int, seed: int = 0) -> memoryview:
    return memoryview(bytearray((7 * i + seed) % 251 for i in range(nbytes)))


def _bytes_of(memory: object) -> bytes:
    if isinstance(memory, memoryview):
        return memory.tobytes()
    return bytes(memory.cpu().numpy().tobytes())  # type: ignore[attr-defined]
