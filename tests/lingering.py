"""A socket that is bad to close: who does it last waits for what it has not sent, for a minute."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable

_PATIENCE_S = 20.0


class Lingering:
    """`sock` has data to send that its peer does not read. Closed again by `close`, at once."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.sock = socket.create_connection(server.getsockname())
            self._peer, _ = server.accept()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
        try:
            while True:
                self.sock.send(bytes(2**16))
        except BlockingIOError:
            pass

    def given_to(self, sock: socket.socket, data: bytes, copies: int = 1) -> None:
        """Sends it along, and keeps none: who gets it is the last who has it."""
        socket.send_fds(sock, [data], [self.sock.fileno()] * copies)

    def close(self) -> None:
        self._peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._peer.close()  # with a reset: there is nobody to wait for
        self.sock.close()


async def never_blocked(lingering: Lingering, work: Awaitable[object]) -> None:
    """Awaits `work`; fails when a loop waits in between for the socket to be closed."""
    over = threading.Event()
    blocked: list[bool] = []

    def release() -> None:
        if not over.wait(_PATIENCE_S):
            blocked.append(True)
        lingering.close()

    watchdog = threading.Thread(target=release)
    watchdog.start()
    try:
        await work
    finally:
        over.set()
        await asyncio.to_thread(watchdog.join)
    assert not blocked, "the loop waited for a socket of somebody else's"
