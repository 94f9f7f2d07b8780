"""Glowplug itself: a real server in its own process tree, asked over HTTP on one kept connection."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from typing import Any
from urllib.parse import urlsplit

from glowplug.bench.harness import RunningServer
from glowplug.bench.models import BenchModel
from glowplug.bench.systems import Measurement
from glowplug.bench.systems.processes import descendants, named, private_bytes
from glowplug.client import parse_server_timing
from glowplug.core.bodies import encode_arguments


class HttpCaller:
    """Sends one prepared request again and again. `http.client` adds less to a millisecond than any other."""

    def __init__(self, url: str, timeout_s: float = 120.0) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            parts.hostname or "127.0.0.1", parts.port, timeout=timeout_s
        )

    def ask(self, path: str, content_type: str, body: bytes) -> tuple[Any, float, dict[str, float]]:
        """(answer, latency in seconds, phases in seconds). Raises RuntimeError when the answer is no 200."""
        start_s = time.monotonic()
        self._connection.request("POST", path, body, {"Content-Type": content_type})
        reply = self._connection.getresponse()
        content = reply.read()
        latency_s = time.monotonic() - start_s
        if reply.status != 200:
            raise RuntimeError(f"{path} answered {reply.status}: {content[:500].decode(errors='replace')}")
        return json.loads(content), latency_s, parse_server_timing(reply.getheader("Server-Timing", ""))

    def close(self) -> None:
        self._connection.close()


class LiveSystem:
    """One server with every model deployed; the admin interface brings a function to a step."""

    name = "glowplug"

    def __init__(self, server: RunningServer, warm_repeats: int) -> None:
        self._server = server
        self._warm_repeats = warm_repeats
        self._caller = HttpCaller(server.url)

    def steps(self) -> tuple[str, ...]:
        return ("local", "imported", "staged", "parked")

    def measure(self, model: BenchModel, request: Any, step: str, cache: str) -> Measurement:
        content_type, body = request_body(model, request)
        path = f"/function/{model.function}/{model.endpoint}"
        self._server.stand_at(model.function, step, cache)
        held_bytes = self._server.held_bytes()
        private_bytes = self._private_bytes(model) if step == "parked" else None
        answer, latency_s, phases = self._caller.ask(path, content_type, body)
        warm_s = statistics.median(
            self._caller.ask(path, content_type, body)[1] for _ in range(self._warm_repeats)
        )
        return Measurement(answer, latency_s, warm_s, phases, held_bytes, private_bytes)

    def close(self) -> None:
        """Leaves the server to whoever started it."""
        self._caller.close()

    def _private_bytes(self, model: BenchModel) -> int | None:
        """What the kernel says that the model's parked worker has for itself alone."""
        workers = named(f"worker:{model.function}", descendants(self._server.process.pid))
        return max((private_bytes(pid) for pid in workers), default=None)


def request_body(model: BenchModel, request: Any) -> tuple[str, bytes]:
    """(content type, body): arrays travel as `.npy`, the rest as JSON."""
    return encode_arguments({model.argument: request})
