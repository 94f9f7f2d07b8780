"""What is pinned for a copy, and that every byte of it lies in one pinned piece."""

from __future__ import annotations

import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.loader.arbiter import Block, Range
from glowplug.loader.clock import RealClock
from glowplug.loader.devices import pinning
from glowplug.loader.devices.pinning import PinnedSource
from glowplug.loader.devices.virtual import Profile, VirtualDevice
from glowplug.loader.errors import DeviceFailed
from glowplug.loader.sinks import MappedDeviceSink

PAGE = mmap.PAGESIZE


class Pinned:
    """Remembers what is pinned, and refuses what the driver would: a page twice. Pins `most` times."""

    def __init__(self, most: int = 1000) -> None:
        self.most = most
        self.asked = 0
        self.held: dict[int, int] = {}

    def pin(self, address: int, nbytes: int) -> bool:
        self.asked += 1
        if len(self.held) >= self.most:
            return False
        pages = {each // PAGE for each in range(address, address + nbytes, PAGE)} | {
            (address + nbytes - 1) // PAGE
        }
        for start, length in self.held.items():
            taken = range(start // PAGE, (start + length - 1) // PAGE + 1)
            assert pages.isdisjoint(taken), "a page cannot be pinned twice"
        self.held[address] = nbytes
        return True

    def unpin(self, address: int) -> None:
        del self.held[address]


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> object:
    patch = pytest.MonkeyPatch()
    patch.setattr(pinning, "PIECE_BYTES", 2 * PAGE)
    yield None
    patch.undo()


@given(
    before=st.integers(0, PAGE),
    nbytes=st.integers(1, 9 * PAGE),
    cuts=st.lists(st.integers(0, 9 * PAGE), max_size=4),
)
def test_every_part_lies_in_one_pinned_piece(before: int, nbytes: int, cuts: list[int]) -> None:
    weights = memoryview(mmap.mmap(-1, 11 * PAGE))[before : before + nbytes]
    pins = Pinned()
    source = PinnedSource(weights, pins)
    address = source._address
    ends = [*sorted(min(cut, nbytes) for cut in cuts), nbytes]
    seen = 0
    for start, end in zip([0, *ends], ends, strict=False):
        for offset, part in source.parts(start, end - start):
            assert offset == seen
            seen += part.nbytes
            low = address + offset
            assert any(at <= low and low + part.nbytes <= at + length for at, length in pins.held.items())
    assert seen == nbytes
    source.release()
    source.release()
    assert not pins.held


def test_parts_may_be_asked_for_in_any_order() -> None:
    pins = Pinned()
    source = PinnedSource(memoryview(mmap.mmap(-1, 8 * PAGE)), pins)
    assert [offset for offset, _ in source.parts(5 * PAGE, PAGE)] == [5 * PAGE]
    assert [offset for offset, _ in source.parts(0, 3 * PAGE)] == [0, 2 * PAGE]
    source.release()
    assert not pins.held


def test_where_pinning_ends_the_rest_is_copied_unpinned_and_not_asked_for_again() -> None:
    pins = Pinned(most=1)
    source = PinnedSource(memoryview(mmap.mmap(-1, 8 * PAGE)), pins)
    assert sum(part.nbytes for _, part in source.parts(0, 8 * PAGE)) == 8 * PAGE
    assert pins.asked == 2
    source.release()
    assert not pins.held


def test_nothing_has_no_parts() -> None:
    assert list(PinnedSource(memoryview(b""), Pinned()).parts(0, 0)) == []


class Pinning(VirtualDevice):
    """Remembers what is pinned."""

    def __init__(self) -> None:
        super().__init__(Profile(2**20, 1e12), RealClock())
        self.pins = Pinned()

    def pin(self, address: int, nbytes: int) -> bool:
        return self.pins.pin(address, nbytes)

    def unpin(self, address: int) -> None:
        self.pins.unpin(address)


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_whichever_copy_fails_the_load_fails_and_nothing_stays_pinned(failing: int) -> None:
    card, weights = Pinning(), memoryview(mmap.mmap(-1, 6 * PAGE))
    sink = MappedDeviceSink(card, card.allocate(card.reserve(6 * PAGE)), weights)
    for number in range(3):
        card.fail_copies(int(number == failing))
        offset = 2 * PAGE * number
        sink.put(0, Range(offset, 2 * PAGE, (Block(number, 0, offset, 2 * PAGE),)))
    assert card.pins.held
    with pytest.raises(DeviceFailed):
        sink.finish()
    assert not card.pins.held
