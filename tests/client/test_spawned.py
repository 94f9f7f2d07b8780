"""A spawned call outlives its server: who waits for it does, too."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from glowplug.client import Client
from glowplug.core.errors import Unavailable


def test_a_call_is_waited_for_while_its_server_is_started_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with Client(url) as client:
            got = pool.submit(client.spawned("c").get, 60.0)
            asked(server).close()  # killed before it answered
            with asked(server) as started_again:
                started_again.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                started_again.sendall(b"content-length: 2\r\n\r\n42")
                assert got.result() == 42


def test_a_call_whose_server_stays_away_says_so() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with Client(url) as client, ThreadPoolExecutor(1) as pool:
        got = pool.submit(client.spawned("c").get, 0.5)
        asked(server).close()
        server.close()
        with pytest.raises(Unavailable):
            got.result()
        with pytest.raises(Unavailable, match="nothing answers"):
            client.spawned("c").get()


def asked(server: socket.socket) -> socket.socket:
    """The connection of a client that has sent its question."""
    connection, _ = server.accept()
    said = b""
    while b"\r\n\r\n" not in said:
        said += connection.recv(4096)
    return connection
