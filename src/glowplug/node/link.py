"""One end of a control socket in an event loop: messages out that never wait for the peer, messages in by
turns."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from glowplug.node import wire

MOST_WAITING = 100_000
"""Messages. A peer that leaves more unread does not live any more, whatever its process does."""
MESSAGES_AT_ONCE = 64
"""A peer may talk without end: the rest of the loop has its turn in between."""
_SHORTAGES = {errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS}
"""The kernel has no memory for a message now, or too many descriptors are on their way: nobody is gone."""
_SHORTAGE_S = 0.01


class Link:
    """Owns `sock`. `on_message(message, descriptors)` owns the descriptors; `on_end(why)` is called once,
    when the peer is gone, speaks otherwise, or reads nothing, unless `close` was called before."""

    def __init__(
        self,
        sock: socket.socket,
        types: Any,
        on_message: Callable[[Any, list[int]], None],
        on_end: Callable[[str], None],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._receiver = wire.Receiver(sock, types)
        self._on_message = on_message
        self._on_end = on_end
        self._outbox: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._loop = asyncio.get_running_loop()
        self.closed = False
        self._loop.add_reader(sock.fileno(), self._read)

    def send(self, message: msgspec.Struct, descriptors: tuple[int, ...] = ()) -> None:
        """Sends now, or as soon as the peer reads again. The descriptors are closed once sent, or when that
        cannot be. Raises ValueError when the message is too large."""
        try:
            data = wire.encoded(message)
        except ValueError:
            wire.close_all(descriptors)
            raise
        if self.closed:
            wire.close_all(descriptors)
        elif self._outbox:
            self._outbox.append((data, descriptors))
            if len(self._outbox) > MOST_WAITING:
                self._end(f"it left {MOST_WAITING} messages unread")
        elif not self._sent(data, descriptors):
            self._outbox.append((data, descriptors))

    def _sent(self, data: bytes, descriptors: tuple[int, ...]) -> bool:
        """False when the peer has to read first, or the kernel to find memory: `_flush` follows then."""
        try:
            wire.send_encoded(self._sock, data, descriptors)
        except BlockingIOError:
            self._loop.add_writer(self._sock.fileno(), self._flush)
            return False
        except OSError as error:
            if error.errno in _SHORTAGES:
                self._loop.remove_writer(self._sock.fileno())  # it may well be writable
                self._loop.call_later(_SHORTAGE_S, self._flush)
                return False
            # else the end of file is read next, and that tells
        wire.close_all(descriptors)
        return True

    def _flush(self) -> None:
        while self._outbox and not self.closed:
            if not self._sent(*self._outbox[0]):
                return
            self._outbox.popleft()
        if not self.closed:
            self._loop.remove_writer(self._sock.fileno())

    def _read(self) -> None:
        for _ in range(MESSAGES_AT_ONCE):
            if self.closed:
                return
            try:
                found = self._receiver.receive(socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except (OSError, msgspec.MsgspecError) as error:
                self._end(f"its words cannot be read: {error}")
                return
            if found is None:
                self._end("it is gone")
                return
            self._on_message(*found)

    def _end(self, why: str) -> None:
        self.close()
        self._on_end(why)

    def close(self) -> None:
        """What was not sent yet is not sent any more; `on_end` is not called. Again is no error."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        for _, descriptors in self._outbox:
            wire.close_all(descriptors)
        self._outbox.clear()
