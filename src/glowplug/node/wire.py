"""Control messages with file descriptors over SOCK_SEQPACKET: one send is one message, order kept.

Delivery: in order, none lost while both ends live. A closed peer is `None` on receive and OSError on send.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from glowplug.core.errors import UNREADABLE

MAX_MESSAGE_BYTES = 128 * 1024
_ANCILLARY_BYTES = socket.CMSG_SPACE(253 * 4)
"""As many descriptors as the kernel passes in one message: what it cuts off it closes right there."""
Close = Callable[[Iterable[int]], None]
_encoder = msgspec.msgpack.Encoder()


def socket_pair(kind: int = socket.SOCK_SEQPACKET) -> tuple[socket.socket, socket.socket]:
    """A connected AF_UNIX pair, closed on exec."""
    return socket.socketpair(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC)


def output_pipes() -> list[tuple[int, int]]:
    """Two pipes (read, write), for what a process prints. Raises OSError, and leaves none open then."""
    first = os.pipe2(os.O_CLOEXEC)
    try:
        return [first, os.pipe2(os.O_CLOEXEC)]
    except OSError:
        close_all(first)
        raise


def encoded(message: msgspec.Struct) -> bytes:
    """As one message. Raises ValueError when it is too large."""
    data = _encoder.encode(message)
    if len(data) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a control message of {len(data)} bytes is over the limit of {MAX_MESSAGE_BYTES}")
    return data


def send_encoded(sock: socket.socket, data: bytes, descriptors: tuple[int, ...] = ()) -> None:
    """Raises OSError when the peer is gone."""
    socket.send_fds(sock, [data], list(descriptors), socket.MSG_NOSIGNAL)


def send(sock: socket.socket, message: msgspec.Struct, descriptors: tuple[int, ...] = ()) -> None:
    """Sends one message. Raises OSError when the peer is gone, ValueError when it is too large."""
    send_encoded(sock, encoded(message), descriptors)


def close_all(descriptors: Iterable[int]) -> None:
    """Ours, or an installed peer's: of what user code sent see transport/closing.py."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)


class Receiver:
    """Decodes what arrives on one socket as one union of message types. `close` is how descriptors are closed
    that nobody gets: the peer may be one of whom that is to be feared (transport/closing.py)."""

    def __init__(self, sock: socket.socket, types: Any, close: Close = close_all) -> None:
        self.sock = sock
        self._close = close
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(types)

    def receive(self, flags: int = 0) -> tuple[Any, list[int]] | None:
        """The next message and its descriptors (the caller closes them); None when the peer is gone.

        Raises BlockingIOError with MSG_DONTWAIT when nothing waits, msgspec.MsgspecError for a message
        that does not decode, whose descriptors are closed.
        """
        try:
            data, ancillary, _, _ = self.sock.recvmsg(
                MAX_MESSAGE_BYTES, _ANCILLARY_BYTES, flags | socket.MSG_CMSG_CLOEXEC
            )
        except (ConnectionResetError, BrokenPipeError):
            return None
        descriptors = array.array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        if not data:
            self._close(descriptors)
            return None
        try:
            return self._decoder.decode(data), list(descriptors)
        except UNREADABLE as error:
            self._close(descriptors)
            raise msgspec.DecodeError(str(error)) from None

    def waiting(self) -> Iterator[tuple[Any, list[int]] | None]:
        """What has come, without waiting for more; None last when the peer is gone. Raises as `receive`."""
        while True:
            try:
                found = self.receive(socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            yield found
            if found is None:
                return
