"""The journal's files: a few segments of bounded size, the oldest removed for the newest."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from glowplug.control.journal import ReplayReport, entry_frame, frame, replay_segment
from glowplug.core.commands import Command
from glowplug.core.events import Event

_PATTERN = "journal-*.gpj"


class JournalWriter:
    """Appends to the newest segment of `folder`; keeps `segments` of about `segment_bytes` each.

    `append` only adds to a buffer. The driver flushes it in batches and turns the segment over. Nothing
    is fsynced: the journal explains, it does not make durable. A segment found at the start is kept.
    """

    def __init__(self, folder: Path, *, segments: int = 4, segment_bytes: int = 16 * 2**20) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # another's, who lets us write
            folder.chmod(0o700)  # functions' variables stand in it
        self._folder = folder
        self._segments = segments
        self._segment_bytes = segment_bytes
        self._buffer: list[bytes] = []
        self._written_bytes = 0
        self._file: BinaryIO | None = None

    def append(self, now_s: float, event: Event, commands: list[Command]) -> None:
        self._buffer.append(entry_frame(now_s, event, commands))

    def flush(self, snapshot: Callable[[], bytes]) -> None:
        """Writes what was appended. When the segment is full, the next one begins with `snapshot()`.

        Called when no event is being handled, so that the snapshot follows the last entry exactly.
        Raises OSError.
        """
        if self._file is None:
            raise ValueError("the journal is not begun, or closed")
        if self._buffer:
            data = b"".join(self._buffer)
            self._buffer.clear()
            self._file.write(data)
            self._file.flush()
            self._written_bytes += len(data)
        if self._written_bytes >= self._segment_bytes:
            self.begin(snapshot())

    def begin(self, snapshot: bytes) -> None:
        """Starts a segment with `snapshot` and removes the oldest beyond the bound. Raises OSError."""
        if self._file is not None:
            self._file.close()
        found = segment_paths(self._folder)
        number = int(found[-1].stem.rpartition("-")[2]) + 1 if found else 1
        for path in found[: max(0, len(found) + 1 - self._segments)]:
            path.unlink(missing_ok=True)
        self._file = open(self._folder / f"journal-{number:08d}.gpj", "xb")  # noqa: SIM115
        self._file.write(frame(snapshot))
        self._file.flush()
        self._written_bytes = 0

    def abandon(self) -> None:
        """Closes without a word: what was not written is lost."""
        file, self._file = self._file, None
        self._buffer.clear()
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    def close(self) -> None:
        """Writes what was appended and closes. Again is not an error. Raises OSError."""
        if self._file is not None:
            self._file.write(b"".join(self._buffer))
            self._file.close()
        self._buffer.clear()
        self._file = None


def segment_paths(folder: Path) -> list[Path]:
    """The segments in `folder`, oldest first."""
    return sorted(folder.glob(_PATTERN))


def replay(folder: Path) -> ReplayReport:
    """Handles every segment's events again, each from its own snapshot. Raises OSError."""
    report = ReplayReport()
    for path in segment_paths(folder):
        replay_segment(path.name, path.read_bytes(), report)
    return report
