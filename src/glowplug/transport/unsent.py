"""What a worker has to write and the kernel has not taken yet, whatever interrupts the writing."""

from __future__ import annotations

import socket

from glowplug.transport.shared_memory import descriptor_message

BATCH_BYTES = 64 * 1024
"""What is queued is written when it has grown to this."""
_PIECES_AT_ONCE = 512
"""Fewer than the kernel takes in one call."""

Piece = bytes | bytearray | memoryview


class Unsent:
    """Of one blocking socket, which somebody else owns. Pieces are kept until the kernel has them: a signal
    handler may raise anywhere here, and the next call finishes what an interrupted one began."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.pieces: list[Piece] = []
        self._bytes = 0
        self._ancillary: list[tuple[int, int, bytes]] = []
        self._sent: list[int] = []

    def add(self, piece: Piece) -> None:
        if not self.pieces:
            self._sent = []
            self._bytes = 0
        self.pieces.append(piece)
        self._bytes += len(piece)
        if self._bytes >= BATCH_BYTES:
            self.flush()

    def attach(self, descriptor: int) -> None:
        """It travels with the first byte of what is added next; what is there already is written first."""
        self.flush()
        self._ancillary = descriptor_message(descriptor)

    def flush(self) -> None:
        """Writes all. What a signal handler raises meanwhile is raised after that."""
        if not self.pieces:
            return
        try:
            self._write()
        except BaseException:
            self._write()
            raise

    def _write(self) -> None:
        while self.pieces:
            rest = _after(self.pieces, sum(self._sent))
            if not rest:
                self._ancillary = []
                self.pieces = []
                return
            # One call from the list down to the socket: no handler can raise between a write and its count.
            if self._ancillary and not self._sent:
                self._sent.extend(map(self._sock.sendmsg, (rest[:_PIECES_AT_ONCE],), (self._ancillary,)))
            else:
                self._sent.extend(map(self._sock.sendmsg, (rest[:_PIECES_AT_ONCE],)))


def _after(pieces: list[Piece], sent_bytes: int) -> list[Piece]:
    """What is left of `pieces` after their first `sent_bytes`."""
    if not sent_bytes:
        return pieces
    for index, piece in enumerate(pieces):
        if sent_bytes < len(piece):
            return [memoryview(piece)[sent_bytes:], *pieces[index + 1 :]]
        sent_bytes -= len(piece)
    return []
