from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glowplug.transport.worker_side import Incoming, WorkerEndpoint
from tests.workers import Handler, serve

StartWorker = Callable[[Handler], socket.socket]


def echo(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
    endpoint.reply(incoming.request, 200, incoming.content_type, bytes(incoming.body), {"compute": 0.001})


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def few_open(most: int) -> None:
    """Returns when no more than so many are: some are closed in a thread."""
    while open_descriptors() > most:
        await asyncio.sleep(0.001)


@pytest.fixture
def start_worker() -> Iterator[StartWorker]:
    """Starts real worker endpoints in threads, each on its end of a socket pair; gives the gateway's end.
    When the test is over no thread and no descriptor may be left."""
    before = open_descriptors()
    threads: list[threading.Thread] = []

    def start(handle: Handler) -> socket.socket:
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=serve, args=(theirs, handle), daemon=True)
        thread.start()
        threads.append(thread)
        return ours

    yield start
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "a worker did not see the end of its connection"
    assert open_descriptors() <= before
