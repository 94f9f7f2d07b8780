"""A connection that loses what goes through it."""

from __future__ import annotations

import contextlib
import socket
import threading

from glowplug.testing.channel_suite import WAIT_S


class LossyProxy:
    """Stands between a client and a server on this machine; what it swallows of the server's is lost."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._swallows = False
        self._lost = threading.Event()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> LossyProxy:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._cut()
        self._threads[0].join()
        self._cut()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def swallow(self) -> None:
        self._swallows = True

    def cut_after_some_was_lost(self) -> None:
        assert self._lost.wait(WAIT_S)
        self._swallows = False
        self._cut()

    def _cut(self) -> None:
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to_port))
            self._open += [client, server]
            for ends in ((client, server, False), (server, client, True)):
                self._threads.append(threading.Thread(target=self._carry, args=ends))
                self._threads[-1].start()

    def _carry(self, source: socket.socket, target: socket.socket, may_lose: bool) -> None:
        with source:
            while True:
                try:
                    content = source.recv(2**16)
                except OSError:
                    content = b""
                if not content:
                    break
                if may_lose and self._swallows:
                    if b"$JS.ACK." in content:
                        self._lost.set()
                    continue
                with contextlib.suppress(OSError):
                    target.sendall(content)
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_RDWR)
