"""A log that loses lines rather than time."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from glowplug.core.errors import Unavailable
from glowplug.server import line_writer
from glowplug.server.line_writer import LineWriter


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_writer, "_CLOSE_S", 60.0)


def writer(target: Path | str, kept: int = 100) -> LineWriter[int]:
    return LineWriter(str(target), lambda n: b"line %d" % n, lambda lost: b"lost %d" % lost, kept)


def run(scenario: Callable[[], object]) -> None:
    async def whole() -> None:
        scenario()

    asyncio.run(whole())


def test_lines_are_appended_whole_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")

    def scenario() -> None:
        lines = writer(path, kept=5000)
        for number in range(3000):
            lines.put(number)
        lines.close()

    run(scenario)
    assert path.read_text().splitlines() == ["before", *(f"line {n}" for n in range(3000))]


@pytest.mark.parametrize("before", ["whole\n", "whole\ncut o", "", None])
def test_a_line_that_was_cut_off_before_is_ended(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "log"
    if before is not None:
        path.write_text(before)

    def scenario() -> None:
        lines = writer(path)
        lines.put(1)
        lines.close()

    run(scenario)
    assert path.read_text().splitlines() == [*(before or "").splitlines(), "line 1"]


def test_nothing_has_to_be_closed_for_lines_to_appear(tmp_path: Path) -> None:
    async def scenario() -> None:
        lines = writer(tmp_path / "log")
        lines.put(1)
        while not (tmp_path / "log").stat().st_size:
            await asyncio.sleep(0.01)
        lines.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_file_that_was_renamed_is_left_on_request(tmp_path: Path) -> None:
    path = tmp_path / "log"

    async def scenario() -> None:
        lines = writer(path)
        lines.put(1)
        while not path.stat().st_size:
            await asyncio.sleep(0.01)
        path.rename(tmp_path / "log.1")
        lines.reopen()
        while not path.exists():
            await asyncio.sleep(0.01)
        lines.put(2)
        lines.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert ((tmp_path / "log.1").read_text(), path.read_text()) == ("line 1\n", "line 2\n")


def test_what_was_put_is_written_however_late_the_thread_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given no core until the end."""
    pause, on_time = threading.Event(), LineWriter._run

    def late(self: LineWriter[int]) -> None:
        while not self._closing:
            pause.wait(0.001)
        on_time(self)

    monkeypatch.setattr(LineWriter, "_run", late)

    def scenario() -> None:
        lines = writer(tmp_path / "log")
        lines.put(1)
        lines.close()

    run(scenario)
    assert (tmp_path / "log").read_text() == "line 1\n"


def test_a_full_disk_costs_the_lines_and_no_more() -> None:
    def scenario() -> None:
        lines = writer("/dev/full")
        lines.put(1)
        lines.put(2)
        lines.close()
        assert lines.lost == 2

    run(scenario)


def test_a_gap_is_told_where_it_is(tmp_path: Path) -> None:
    def scenario() -> None:
        lines = writer(tmp_path / "log", kept=2)
        for number in range(5):
            lines.put(number)
        lines.close()
        assert lines.lost == 0

    run(scenario)
    assert (tmp_path / "log").read_text() == "lost 3\nline 0\nline 1\n"


def test_a_line_that_does_not_fit_leaves_no_half_of_it(tmp_path: Path) -> None:
    """The file may have 100 bytes, as on a disk that is nearly full."""
    script = (
        "import os, resource, signal, sys\n"
        "from glowplug.server.line_writer import _append\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
        "_append(file, b'a' * 79 + b'\\n')\n"
        "try: _append(file, b'b' * 50)\n"
        "except OSError: print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "log")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "refused\n"
    assert (tmp_path / "log").read_text() == "a" * 79 + "\n"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100


def test_a_pipe_that_nobody_reads_is_neither_waited_for_at_the_start_nor_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_writer, "_CLOSE_S", 0.01)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Unavailable, match="access log"):
        writer(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)

    def scenario() -> None:
        lines: LineWriter[int] = LineWriter(
            str(tmp_path / "pipe"), lambda n: b"x" * 10_000, lambda lost: b"", kept=100
        )
        for number in range(200):
            lines.put(number)
        lines.close()
        assert lines.lost >= 100

    run(scenario)
    os.close(reader)


def test_lines_of_several_writers_stay_whole_in_a_pipe(tmp_path: Path) -> None:
    """As those of several gateways on one standard output."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    found: list[bytes] = []

    def waiting_bytes() -> int:
        return int.from_bytes(fcntl.ioctl(reader, termios.FIONREAD, bytes(4)), sys.byteorder)

    def read() -> None:
        with os.fdopen(reader, "rb") as file:
            found.extend(file)

    async def scenario() -> None:
        writers = [
            LineWriter[int](str(tmp_path / "pipe"), lambda n, c=char: c * 99, lambda lost: b"", kept=5000)
            for char in (b"a", b"b")
        ]
        for number in range(2000):
            for each in writers:
                each.put(number)
        closing = asyncio.gather(*(asyncio.to_thread(each.close) for each in writers))
        while waiting_bytes() < 60_000:  # then neither can go on
            await asyncio.sleep(0.01)
        await asyncio.to_thread(read)
        await closing

    asyncio.run(scenario())
    assert (len(found), set(found)) == (4000, {b"a" * 99 + b"\n", b"b" * 99 + b"\n"})


def test_a_folder_that_is_not_there_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file"):
        writer(tmp_path / "nowhere" / "log")
