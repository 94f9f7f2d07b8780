"""What processes print, as the agent tells of it: in few messages, and of each read no more than is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from glowplug.node.messages import Said

LINE_BYTES = 8192
_MESSAGE_BYTES = 64 * 1024
_LEAST_BYTES = 5
"""What a line takes in a message beside its text, at most."""


def texts(lines: Sequence[bytes], kept: int) -> list[str]:
    """The last lines, as many as are kept, each cut to LINE_BYTES."""
    last = lines[max(0, len(lines) - kept) :]
    return [line[:LINE_BYTES].decode("utf-8", "replace") for line in last]


def told(function: str, instance: int, stream: str, lines: Sequence[str]) -> Iterator[Said]:
    """All `lines`, in messages that are not too large to be sent."""
    batch: list[str] = []
    batch_bytes = 0
    for line in lines:
        line_bytes = _LEAST_BYTES + len(line) * (1 if line.isascii() else 4)
        if batch and batch_bytes + line_bytes > _MESSAGE_BYTES:
            yield Said(function, instance, stream, batch)
            batch, batch_bytes = [], 0
        batch.append(line)
        batch_bytes += line_bytes
    if batch:
        yield Said(function, instance, stream, batch)
