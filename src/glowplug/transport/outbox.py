"""Bytes on their way out of a non-blocking socket, batched: what one turn of the event loop has to say goes
out in one call, unless nothing else is under way."""

from __future__ import annotations

import asyncio
import socket
from collections import deque

from glowplug.transport.shared_memory import descriptor_message

_BATCH_BYTES = 128 * 1024
"""A batch is sent when it has grown to this, before the turn is over."""


class Outbox:
    """Keeps order. What is written once the peer takes no more is dropped; the reader of the socket finds its
    end."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._due: asyncio.Handle | None = None
        self._unsent: deque[tuple[memoryview, int | None]] = deque()
        self._unsent_bytes = 0

    @property
    def unsent_bytes(self) -> int:
        """What the socket did not take yet."""
        return self._unsent_bytes + self._batch_bytes

    def soon(self, data: bytes) -> None:
        """Writes with whatever else is written in this turn of the loop."""
        self._batch.append(data)
        self._batch_bytes += len(data)
        if self._batch_bytes >= _BATCH_BYTES:
            self.flush()
        elif self._due is None:
            self._due = self._loop.call_soon(self.flush)

    def now(self, data: bytes, descriptor: int | None = None) -> None:
        """Writes at once, after what was to be written soon. `descriptor` travels along; it is not owned, and
        stays open until it was sent."""
        if self._batch:
            self.flush()
        self._write(data, descriptor)

    def flush(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        batch = self._batch
        if batch:
            self._batch, self._batch_bytes = [], 0
            self._write(batch[0] if len(batch) == 1 else b"".join(batch), None)

    def has_yet_to_send(self, descriptor: int | None) -> bool:
        return descriptor is not None and any(waiting == descriptor for _, waiting in self._unsent)

    def _write(self, data: bytes, descriptor: int | None) -> None:
        if self._unsent:
            self._keep(memoryview(data), descriptor)
            return
        sent = self._send_some(data, descriptor)
        if sent < len(data):
            self._loop.add_writer(self._sock.fileno(), self._on_writable)
            self._keep(memoryview(data)[sent:], descriptor if sent == 0 else None)

    def _keep(self, view: memoryview, descriptor: int | None) -> None:
        self._unsent.append((view, descriptor))
        self._unsent_bytes += len(view)

    def _send_some(self, data: bytes | memoryview, descriptor: int | None) -> int:
        try:
            if descriptor is None:
                return self._sock.send(data)
            return self._sock.sendmsg([data], descriptor_message(descriptor))
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            # Its answers may still lie in the socket: the reader finds the end after them.
            return len(data)

    def _on_writable(self) -> None:
        while self._unsent:
            view, descriptor = self._unsent.popleft()
            sent = self._send_some(view, descriptor)
            self._unsent_bytes -= sent
            if sent < len(view):
                self._unsent.appendleft((view[sent:], descriptor if sent == 0 else None))
                return
        self._loop.remove_writer(self._sock.fileno())

    def close(self) -> None:
        """Drops what is left. The socket is its owner's to close."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self._loop.remove_writer(self._sock.fileno())
        self._batch.clear()
        self._unsent.clear()
