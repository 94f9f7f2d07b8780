"""A worker of a test: a real endpoint that answers as it is told."""

from __future__ import annotations

import socket
from collections.abc import Callable

from glowplug.transport.worker_side import Incoming, WorkerEndpoint

Handler = Callable[[WorkerEndpoint, Incoming], None]


def serve(sock: socket.socket, handle: Handler) -> None:
    """Until the other end of `sock`, which it closes, is gone."""
    endpoint = WorkerEndpoint(sock)
    try:
        while (incoming := endpoint.receive()) is not None:
            handle(endpoint, incoming)
            del incoming
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        endpoint.close()
