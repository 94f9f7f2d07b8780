"""Shared memory for bodies: who may write where, and what is forgotten."""

from __future__ import annotations

import mmap
import os

import pytest

from glowplug.transport.frames import ProtocolError
from glowplug.transport.kept_regions import KeptRegions
from glowplug.transport.lent_regions import MOST_BYTES, LentRegions
from glowplug.transport.shared_memory import KEPT_BYTES, THRESHOLD_BYTES, create_region

from .conftest import open_descriptors

BODY = b"x" * THRESHOLD_BYTES


def test_a_region_is_used_again_and_its_descriptor_travels_once() -> None:
    before = open_descriptors()
    lent = LentRegions()
    first = lent.place(1, BODY)
    assert first is not None
    assert first.descriptor is not None
    second = lent.place(2, BODY)
    assert second is not None
    assert second.region != first.region, "what a worker still reads is not written to"
    lent.returned(1)
    assert lent.place(3, BODY) == (first.region, None, ())
    with pytest.raises(ProtocolError):
        lent.returned(1)
    lent.close()
    assert open_descriptors() <= before


def test_a_slot_is_read_into_and_lent_without_a_copy() -> None:
    lent = LentRegions()
    slot = lent.reserve(len(BODY))
    assert slot is not None
    slot.view[:] = BODY
    found = lent.lend(1, slot)
    assert found.descriptor is not None
    assert os.pread(found.descriptor, len(BODY), 0) == BODY
    assert len(slot) == 0
    slot.release()
    assert 1 in lent
    lent.close()


def test_a_slot_outlives_its_worker() -> None:
    before = open_descriptors()
    lent = LentRegions()
    slot = lent.reserve(len(BODY))
    assert slot is not None
    lent.close()
    slot.view[:] = BODY
    assert slot.to_bytes() == BODY
    assert lent.reserve(len(BODY)) is None
    assert open_descriptors() <= before


def test_what_all_hold_is_bounded() -> None:
    lent = LentRegions()
    slots = [lent.reserve(KEPT_BYTES) for _ in range(MOST_BYTES // KEPT_BYTES)]
    assert all(slots)
    assert lent.reserve(THRESHOLD_BYTES) is None
    assert lent.reserve(KEPT_BYTES + 1) is None
    slots[0].release()  # type: ignore[union-attr]
    small = lent.reserve(THRESHOLD_BYTES)
    assert small is not None
    for slot in (*slots[1:], small):
        slot.release()  # type: ignore[union-attr]
    lent.close()


def test_the_worker_is_told_which_regions_are_gone() -> None:
    lent = LentRegions()
    kept = lent.place(1, BODY)
    assert kept is not None
    lent.abandon(1)
    again = lent.place(2, BODY)
    assert again is not None
    assert (again.gone, again.region != kept.region) == ((kept.region,), True)
    lent.close()


def test_a_body_is_given_back_when_no_view_of_it_is_left() -> None:
    regions = KeptRegions()
    regions.add(7, create_region(mmap.PAGESIZE))
    body = regions.open(1, 7, 100)
    body[:4] = b"good"
    del body
    assert regions.give_back(1)
    body = regions.open(2, 7, 100)
    part = memoryview(body)[2:4]
    assert not regions.give_back(2), "a view of a view holds it as well"
    assert bytes(part) == b"od"
    with pytest.raises(ProtocolError):
        regions.open(3, 7, 100)


def test_regions_that_are_not_there_or_too_small_are_errors() -> None:
    before = open_descriptors()
    regions = KeptRegions()
    regions.add(0, create_region(mmap.PAGESIZE))
    for number, length in ((1, 1), (0, 0), (0, mmap.PAGESIZE + 1)):
        with pytest.raises(ProtocolError):
            regions.open(1, number, length)
    regions.forget((0, 5))
    with pytest.raises(ProtocolError):
        regions.open(1, 0, 1)
    with pytest.raises(ProtocolError):
        regions.add(1, os.open("/dev/null", os.O_RDONLY))
    assert open_descriptors() <= before
