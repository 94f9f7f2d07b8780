"""What a killed writer leaves of its results is what was whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from glowplug.distributed.errors import FrameCorrupt
from glowplug.distributed.result_log import _HEAD, ResultLog, checked, counted, whole

BODIES = [b"one", b"", b"three" * 100]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "0.results"
    log = ResultLog(found)
    for body in BODIES:
        log.add(body)
    log.close()
    return found


def test_who_goes_on_finds_what_is_whole_and_cuts_off_the_rest(path: Path) -> None:
    written = path.read_bytes()
    for left in (len(written), len(written) - 1, len(written) - len(BODIES[2]) - 9, 17, 0):
        path.write_bytes(written[:left])
        before = counted(path)
        log = ResultLog(path)
        assert log.count == before
        log.add(b"more")
        log.close()
        assert list(whole(path.read_bytes())) == [*BODIES[:before], b"more"]


def test_a_damaged_result_is_none(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    assert list(whole(bytes(content))) == BODIES[:2]
    with pytest.raises(FrameCorrupt, match="worker 2: 2 whole results came, and 3 are expected"):
        checked(bytes(content), 3, "worker 2")


def test_what_is_counted_is_not_read(path: Path) -> None:
    """A result of 64 GB, most of it a hole."""
    with path.open("ab") as file:
        file.write(_HEAD.pack(2**36, 0))
        file.truncate(file.tell() + 2**36)
    assert counted(path) == len(BODIES) + 1
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    log = ResultLog(path)
    log.close()
    assert list(whole(path.read_bytes())) == BODIES


def test_of_what_was_sent_nothing_may_be_missing_or_more(path: Path) -> None:
    content = path.read_bytes()
    assert checked(content, 3, "worker 2") == content
    for wrong in (content[:-1], content + b"x"):
        with pytest.raises(FrameCorrupt):
            checked(wrong, 3, "worker 2")


def test_a_log_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert counted(tmp_path / "none") == 0
