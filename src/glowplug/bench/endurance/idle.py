"""Part `idle`: many functions that nobody calls, and what the controller needs for them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from glowplug.bench.endurance.options import Options, Tell
from glowplug.bench.harness import running_server
from glowplug.bench.live.load import quantile
from glowplug.bench.result import Claim, claim
from glowplug.bench.workloads import write_idle
from glowplug.client import Client
from glowplug.node.procfs import memory_fields

MEMORY_BYTES = 200e6
PS_S = 0.200
HALVES = 1.5


def run(options: Options, folder: Path, tell: Tell) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Raises RuntimeError when a deploy fails."""
    source = write_idle(options.idle_functions, folder)
    with running_server([source], folder / "state", options.budget_bytes) as server:
        start_bytes = memory_fields(server.process.pid).get("Pss", 0)
        start_s, half_s = time.monotonic(), 0.0

        def on_ready(ready: int) -> None:
            nonlocal half_s
            tell(f"idle: {ready} of {options.idle_functions} built")
            if not half_s and ready >= options.idle_functions / 2:
                half_s = time.monotonic() - start_s

        server.wait_deployed(options.idle_functions, on_ready)
        duration_s = time.monotonic() - start_s
        asked = []
        with Client(server.url) as client:
            for _ in range(9):
                asked_s = time.monotonic()
                found = client.functions()
                asked.append(time.monotonic() - asked_s)
            one = client.invoke(f"idle-{options.idle_functions - 1}", {"value": 1})
        end_bytes = memory_fields(server.process.pid).get("Pss", 0)
    asked.sort()
    halves = (duration_s - half_s) / max(half_s, 1e-3)
    row = {
        "scenario": "idle", "duration_s": duration_s, "requests": 1, "functions": len(found),
        "errors_by_kind": {}, "lost": 0, "wrong": int(one != 2), "p50_s": quantile(asked, 0.5),
        "p99_s": quantile(asked, 0.99), "memory_bytes_start": start_bytes, "memory_bytes_end": end_bytes,
        "deploy_second_half_to_first": halves,
    }  # fmt: skip
    claims = [
        claim("idle: wrong answers", int(one != 2), "at most", 0),
        claim("idle: memory of the server_bytes", end_bytes, "at most", MEMORY_BYTES),
    ]
    if not options.quick:
        claims += [
            claim("idle: ps answers in_s", quantile(asked, 0.5), "at most", PS_S),
            claim("idle: deploying the second half / the first", halves, "at most", HALVES),
        ]
    return [row], claims
