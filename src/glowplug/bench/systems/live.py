"""Glowplug itself: a real server in its own process tree, asked over HTTP on one kept connection."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from typing import Any
from urllib.parse import urlsplit

from glowplug.answer import parse_server_timing
from glowplug.bench.harness import RunningServer
from glowplug.bench.models import BenchModel
from glowplug.bench.systems import Held, Measurement
from glowplug.bench.systems.memory import tree_bytes
from glowplug.bench.systems.processes import command_line, descendants, named, unique_set_bytes
from glowplug.bundle.manifest import Manifest
from glowplug.bundle.store import BundleStore
from glowplug.core.bodies import encode_arguments
from glowplug.core.ids import VersionId
from glowplug.loader.pagecache import page_cache_bytes
from glowplug.node import zygote


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
    """One server with every model deployed; the admin interface brings a function to a step.

    One model at a time stands above `imported`, so that all below an environment's zygote is its own.
    """

    name = "glowplug"

    def __init__(self, server: RunningServer, warm_repeats: int) -> None:
        self._server = server
        self._warm_repeats = warm_repeats
        self._caller = HttpCaller(server.url)
        self._store = BundleStore(server.state_dir)
        self._manifests: dict[str, Manifest] = {}
        self._last: BenchModel | None = None

    def steps(self) -> tuple[str, ...]:
        return ("local", "imported", "staged", "parked")

    def measure(self, model: BenchModel, request: Any, step: str, cache: str) -> Measurement:
        content_type, body = request_body(model, request)
        path = f"/function/{model.function}/{model.endpoint}"
        if self._last not in (None, model):
            self._server.stand_at(self._last.function, "imported")
        self._last = model
        if step == "parked" and "staged" not in self._server.holds(model.function):
            self._server.stand_at(model.function, "staged", cache)
        self._server.stand_at(model.function, step, cache)
        held = self._held(model, step)
        private_bytes = self._private_bytes(model) if step == "parked" else None
        answer, latency_s, phases = self._caller.ask(path, content_type, body)
        # After a cold answer the zygote is staged in the background, beside what is asked next.
        self._server.wait_staged(model.function)
        warm_s = statistics.median(
            self._caller.ask(path, content_type, body)[1] for _ in range(self._warm_repeats)
        )
        return Measurement(answer, latency_s, warm_s, phases, held, private_bytes)

    def close(self) -> None:
        """Leaves the server to whoever started it."""
        self._caller.close()

    def _held(self, model: BenchModel, step: str) -> Held:
        """Found by what the store says of the version: its pack, and the libraries of its environment."""
        manifest = self._manifests.get(model.name) or self._read_manifest(model)
        zygote_pid = self._zygote(manifest.declaration.libraries)
        if zygote_pid is None and step != "local":
            raise RuntimeError(f"{model.function} is {step}, and no process holds its environment")
        environment_bytes, own_bytes = tree_bytes(zygote_pid) if zygote_pid is not None else (0, 0)
        weights_bytes = page_cache_bytes(self._store.pack_path(manifest.pack)) if manifest.pack else 0
        return Held(own_bytes, environment_bytes, weights_bytes)

    def _read_manifest(self, model: BenchModel) -> Manifest:
        version = VersionId(self._server.functions()[model.function].version)
        manifest = self._store.manifest(version)
        if manifest is None:
            raise RuntimeError(f"{model.function} has no bundle in {self._store.root}")
        return self._manifests.setdefault(model.name, manifest)

    def _zygote(self, libraries: tuple[str, ...]) -> int | None:
        """The first below the agent that was told to import exactly these: the others are its forks."""
        for pid in descendants(self._server.agent_pid):
            words = command_line(pid)
            if zygote.COMMAND in words and words[words.index(zygote.COMMAND) + 3 :] == list(libraries):
                return pid
        return None

    def _private_bytes(self, model: BenchModel) -> int | None:
        """What the kernel says that the model's parked worker has for itself alone."""
        workers = named(f"worker:{model.function}", descendants(self._server.process.pid))
        return max((unique_set_bytes(pid) for pid in workers), default=None)


def request_body(model: BenchModel, request: Any) -> tuple[str, bytes]:
    """(content type, body): arrays travel as `.npy`, the rest as JSON."""
    return encode_arguments({model.argument: request})
