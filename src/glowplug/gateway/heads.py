"""Heads that repeat: a client that keeps its connection sends the same head over and over, but for its
length."""

from __future__ import annotations

import msgspec

_LENGTH = b"\r\ncontent-length:"
_MOST_DIGITS = 12
_MOST_BYTES = 8 * 1024
"""Of a head that is kept for as long as its connection is: others are read by the parser each time."""


class RepeatedHead(msgspec.Struct, frozen=True):
    """A head that the parser has read, cut where the digits of its Content-Length stand. What begins with the
    same bytes means the same, so it needs no parser."""

    before: bytes
    after: bytes
    head_bytes: int

    def length_of(self, head: bytes) -> int | None:
        """The length of the body that follows, when `head` is exactly this head; None when it is not."""
        before = self.before
        if len(head) != self.head_bytes or not head.startswith(before) or not head.endswith(self.after):
            return None
        digits = head[len(before) : len(head) - len(self.after)]
        return int(digits) if digits.isdigit() else None

    def body_of(self, data: bytes) -> bytes | None:
        """The body, when `data` is exactly one request with this head; None when the parser is needed."""
        before = self.before
        if not data.startswith(before):
            return None
        start = len(before)
        end = data.find(b"\r", start, start + _MOST_DIGITS)
        if end < 0 or not data.startswith(self.after, end):
            return None
        digits = data[start:end]
        body_start = end + len(self.after)
        if not digits.isdigit() or int(digits) != len(data) - body_start:
            return None
        return data[body_start:]


def repeated(data: bytes) -> RepeatedHead | None:
    """What to expect after a request whose head `data` begins with, and that keeps the connection. None when
    its length is not said in the usual way, it is longer than others are, or its client waits before it sends
    its body."""
    end = data.find(b"\r\n\r\n", 0, _MOST_BYTES)
    if end < 0:
        return None
    head = data[: end + 2].lower()
    if head.count(_LENGTH) != 1 or b"\r\ntransfer-encoding:" in head or b"\r\nexpect:" in head:
        return None
    start = head.find(_LENGTH) + len(_LENGTH)
    while head[start : start + 1] == b" ":
        start += 1
    digits_end = head.find(b"\r", start)
    if not head[start:digits_end].isdigit():
        return None
    return RepeatedHead(data[:start], data[digits_end : end + 4], end + 4)
