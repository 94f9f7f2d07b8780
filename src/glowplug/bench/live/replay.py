"""A workload on a real server: as many generated functions as it has, each called at its moments.

Function i stands for model i mod n of the published table: its `setup` takes as long as that one's load and
leaves as many bytes behind, both scaled, and an answer takes as long as in replays that are simulated.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from glowplug.bench.harness import RunningServer, running_server
from glowplug.bench.live.calls import caller_of, play
from glowplug.bench.live.load import Caller, Outcome, latencies
from glowplug.client import Client
from glowplug.core.errors import InvalidArguments
from glowplug.sim.footprints import PUBLISHED, RUN_S
from glowplug.sim.replays import Replayed, System
from glowplug.sim.standing import Standing
from glowplug.sim.systems import system_of
from glowplug.sim.workloads.trace import Trace

MOST_FUNCTIONS = 64
SCALE = 0.05
"""Of the published bytes: 32 to 82 MB a model. Loads take as long as published."""
_WAY_S = 0.01
"""What a request's way to a parked worker and back may take, with all that this machine has to do: what takes
longer has waited."""
_SAMPLE_S = 1.0
_TIMEOUT_S = 120.0
_SOURCE = '''"""Written by `glowplug replay --live`."""

import os
import time

import glowplug

app = glowplug.App("replayed")
MODELS = {models}
RUN_S = {run_s}
LIMITS = {{"memory": "256MB", "max_queue": 10_000}}


class Model:
    number = 0

    def setup(self):
        held_bytes, load_s = MODELS[self.number % len(MODELS)]
        ready_s = time.monotonic() + load_s
        self.ballast = os.urandom(1 << 16) * (held_bytes >> 16)
        time.sleep(max(0.0, ready_s - time.monotonic()))

    @glowplug.endpoint
    def answer(self) -> int:
        time.sleep(RUN_S)
        return self.number


for number in range({count}):
    made = type(f"Model{{number}}", (Model,), {{"number": number, "__module__": __name__}})
    declare = app.model(name=f"f{{number}}", keep_warm="{keep_warm_s}s", prewarm="{prewarm}", **LIMITS)
    globals()[made.__name__] = declare(made)
'''


def live_system(policy: str) -> System:
    """What `replay` simulates as `policy`, on zygotes. Raises InvalidArguments for one that no server has,
    and InvalidDeclaration for one that nobody has."""
    found = system_of(policy, "zygote")
    if found.preload == "clairvoyant":
        raise InvalidArguments(f"--live: {policy} knows the next calls, and no server does", "policy")
    return found


def replay_live(
    trace: Trace,
    system: System,
    budget_bytes: int,
    *,
    keep_warm_s: float = 600.0,
    tell: Callable[[float], None] = lambda share: None,
) -> Replayed:
    """`system` is on zygotes. Raises InvalidArguments for a workload of too many functions, and RuntimeError
    when the server or a deploy fails."""
    if trace.functions > MOST_FUNCTIONS:
        raise InvalidArguments(
            f"--live serves at most {MOST_FUNCTIONS} functions, and the workload has {trace.functions}: "
            f"take some of them, as with top={MOST_FUNCTIONS}",
            "what",
        )
    watch = Watch(trace.functions)
    with _served(trace.functions, system, budget_bytes, keep_warm_s) as server:
        outcomes = asyncio.run(_play(server, trace, watch, tell))
        server.check_alive()
        preload = server.preloads()
    return _replayed(outcomes, watch, preload)


@contextmanager
def _served(functions: int, system: System, budget_bytes: int, keep_warm_s: float) -> Iterator[RunningServer]:
    """An earlier server deployed the functions: on this one they stand at their files, and are not held
    there, as they are where somebody sends them down."""
    models = [(int(model.loaded_bytes * SCALE), model.load_s) for model in PUBLISHED]
    with tempfile.TemporaryDirectory(prefix="glowplug-replay-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        source, state = folder / "replayed_app.py", folder / "state"
        text = _SOURCE.format(
            models=models, run_s=RUN_S, count=functions, keep_warm_s=keep_warm_s, prewarm=system.prewarm
        )
        source.write_text(text, encoding="utf-8")
        with running_server([source], state, budget_bytes) as server:
            server.wait_deployed(functions)
        options = ["--preload", system.preload, "--eviction", system.eviction]
        options += ["--preload-cpu-share", str(system.cpu_share)]
        options += [] if system.uncalled else ["--no-preload-uncalled"]
        with running_server([], state, budget_bytes, options) as server:
            server.wait_deployed(functions)
            yield server


async def _play(
    server: RunningServer, trace: Trace, watch: Watch, tell: Callable[[float], None]
) -> list[Outcome]:
    over = asyncio.Event()
    watching = asyncio.create_task(watch.run(server.url, over))
    try:
        with caller_of(server) as caller:
            return await play(trace, lambda function, _: _call(caller, function), tell)
    finally:
        over.set()
        await watching


async def _call(caller: Caller, function: int) -> Outcome:
    return await caller.call(
        f"f{function}", {}, lambda answer: bool(answer == function), timeout_s=_TIMEOUT_S
    )


class Watch:
    """Seconds since the begin, what all nodes have reserved and where functions stand, again and again until
    it is over, and then once more."""

    def __init__(self, functions: int) -> None:
        self.standing = Standing()
        self.times_s: list[float] = []
        self.reserved_bytes: list[float] = []
        self._names = [f"f{number}" for number in range(functions)]

    async def run(self, url: str, over: asyncio.Event) -> None:
        start_s = time.monotonic()
        with Client(url) as client:
            while True:
                was_over = over.is_set()
                await asyncio.to_thread(self._look, client)
                self.times_s.append(time.monotonic() - start_s)
                if was_over:
                    return
                with suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), _SAMPLE_S)

    def _look(self, client: Client) -> None:
        nodes, found = client.info()["nodes"], {each.name: each for each in client.functions()}
        self.reserved_bytes.append(float(sum(node["reserved_bytes"] for node in nodes)))
        environments_bytes = sum(node["environment_bytes"] for node in nodes)
        self.standing.told([found[name] for name in self._names], environments_bytes)


def has_waited(answer: Outcome) -> bool:
    """For a load, or behind others for a worker that was parked."""
    return answer.origin != "parked" or answer.took_s > RUN_S + _WAY_S


def _replayed(outcomes: list[Outcome], watch: Watch, preload: dict[str, Any]) -> Replayed:
    seconds, good = np.array(latencies(outcomes)), [each for each in outcomes if each.kind == "ok"]
    return Replayed(
        latencies_s=seconds,
        waits_s=np.maximum(seconds - RUN_S, 0.0),
        waited=sum(has_waited(each) for each in good),
        failed=len(outcomes) - len(good),
        preloaded=preload["used"],
        preloaded_late=preload["used_late"],
        kept=None,
        started=preload["started"],
        wasted=preload["wasted"] + preload["unused"] + preload["climbing"],
        wasted_byte_s=preload["wasted_byte_seconds"] + preload["unused_byte_seconds"],
        cpu_s=preload["seconds"],
        loading_s=float("nan"),
        memory_s=np.array(watch.times_s),
        memory_bytes=np.array(watch.reserved_bytes),
        steps=watch.standing.by_function(),
        held_bytes=watch.standing.by_place(),
    )
