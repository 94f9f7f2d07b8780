"""Closing what user code sent, or may have sent. Who closes a socket last waits until its data is sent, for
as long as its SO_LINGER says, and other files have waits of their own: an event loop closes what it knows.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Iterable
from threading import Lock, Thread

from glowplug.transport.frames import ProtocolError
from glowplug.transport.shared_memory import AT_ONCE, CUT_OFF, checked_size

_MOST_THREADS = 8
"""When all of them wait what comes then stays open until one has done."""
_NO_LINGER = struct.pack("ii", 0, 0)
_PEEK = int(socket.MSG_PEEK) | AT_ONCE

_left: deque[int] = deque()
_lock = Lock()
_threads = 0


def close_strange(descriptors: Iterable[int]) -> None:
    """Returns at once; all but regions are closed soon, in a thread."""
    unknown = [descriptor for descriptor in descriptors if not _closed_here(descriptor)]
    if unknown:
        _close_elsewhere(unknown)


def close_peer(sock: socket.socket) -> None:
    """Closes a connected AF_UNIX socket at whose other end user code is. With it go the messages that nobody
    read, and what they carry: where there are such, that happens in a thread. Closing again does nothing."""
    if sock.fileno() < 0:
        return
    try:
        sock.shutdown(socket.SHUT_RDWR)
        if sock.type == socket.SOCK_SEQPACKET:
            # Now the kernel says of every message, even of an empty one, that something was cut off.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        data, _, got, _ = sock.recvmsg(1, 0, _PEEK)
        is_empty = not data and not got & CUT_OFF
    except OSError:
        is_empty = False
    if is_empty:
        sock.close()
    else:
        _close_elsewhere([sock.detach()])


def _closed_here(descriptor: int) -> bool:
    try:
        checked_size(descriptor)
    except (OSError, ProtocolError):
        return False
    os.close(descriptor)
    return True


def _close_elsewhere(descriptors: list[int]) -> None:
    global _threads
    with _lock:
        _left.extend(descriptors)
        if _threads == _MOST_THREADS:
            return
        _threads += 1
    try:
        Thread(target=_close_left, name="closing", daemon=True).start()
    except RuntimeError:  # no more threads now: the next one finds these too
        with _lock:
            _threads -= 1


def _close_left() -> None:
    global _threads
    while True:
        with _lock:
            if not _left:
                _threads -= 1
                return
            descriptor = _left.popleft()
        _close_without_lingering(descriptor)


def _close_without_lingering(descriptor: int) -> None:
    """Somebody else who has it may say otherwise just before it is closed: then this thread waits."""
    with contextlib.suppress(OSError):
        sock = socket.socket(fileno=descriptor)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        finally:
            sock.detach()
    with contextlib.suppress(OSError):
        os.close(descriptor)
