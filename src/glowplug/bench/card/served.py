"""Part `served` of `card`: models on a card behind HTTP, asked from each step, beside the naive start."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from glowplug.bench.answers import difference
from glowplug.bench.card.loads import seeded
from glowplug.bench.harness import POLL_S, RunningServer, running_server
from glowplug.bench.loading.models import zoo
from glowplug.bench.models import examples_dir
from glowplug.bench.result import spread
from glowplug.bench.systems.live import HttpCaller
from glowplug.bench.systems.processes import descendants, named
from glowplug.node import on_device

STEPS = ("imported", "staged", "parked", "warm")
ALONE = "staged, no context ready"
"""Asked of a server that keeps none."""
_BUDGET_BYTES = 12 * 10**9
_CONTEXT_S = 60.0
_TOLERANCE = 1e-3
"""Between two processes on one card: their first kernels may be chosen differently."""
_APP = """
import torch

import glowplug
{imports}
from architectures.zoo import ZOO

app = glowplug.App("card")


def weights_of(name):
    def weights():
        torch.manual_seed(0)
        return ZOO[name].build().state_dict()

    return weights


class Of:
    name = ""

    def build(self):
        return ZOO[self.name].build()

    def example(self):
        return {"value": 1.0}

    def setup(self):
        with torch.device("cpu"):
            self.inputs = ZOO[self.name].example()

    @glowplug.endpoint
    def answer(self, value: float) -> list:
        there = next(self.model.parameters()).device
        found = self.model(*(each.to(there) for each in self.inputs))
        found = found[0] if isinstance(found, tuple) else found
        return [float(each) for each in (value * found.flatten()[:8]).cpu()]
"""
_DECLARED = """

@app.model(name="card-{name}", device="gpu", device_memory={nbytes}, memory="3GB",
           weights=weights_of("{name}"), libraries=["torch"], timeout="5m")
class Of{number}(Of):
    name = "{name}"
"""
_NAIVE = """
import json, sys, time
import torch
from safetensors.torch import load_file
from architectures.zoo import ZOO
name, file, device = sys.argv[1:]
model = ZOO[name].build()
model.load_state_dict(load_file(file))
model = model.eval().to(device)
with torch.inference_mode():
    found = model(*(each.to(device) for each in ZOO[name].example()))
    found = found[0] if isinstance(found, tuple) else found
    print(json.dumps([float(each) for each in found.flatten()[:8].cpu()]), flush=True)
"""


def rows(
    models: Sequence[str], device: str, repeats: int, folder: Path, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """One a model and step, and one a model of the naive start, measured in turn. Raises RuntimeError when a
    server, a deploy or a start fails."""
    place = folder / "apps"
    shutil.copytree(examples_dir(), place)
    source = place / "card_app.py"
    files = {name: seeded(name, folder)[1] for name in models}
    declared = [
        _DECLARED.format(name=name, number=number, nbytes=files[name].stat().st_size + 2 * 10**9)
        for number, name in enumerate(models)
    ]
    # A bundle holds what is imported by name: the zoo imports its modules when it is asked for one.
    imports = "\n".join(f"import {zoo()[name].module}" for name in models)
    source.write_text(_APP.replace("{imports}", imports) + "".join(declared), encoding="utf-8")
    found: dict[tuple[str, str], list[tuple[float, Any, dict[str, float]]]] = {}
    for option, steps in (("", STEPS), (",ready=no", (ALONE,))):
        devices = ("--devices", f"{device}{option}")
        with running_server([source], folder / "state", _BUDGET_BYTES, devices) as server:
            tell("served: deploying")
            server.wait_deployed(len(models))
            caller = HttpCaller(server.url)
            for number in range(repeats):
                for name in models:
                    tell(f"served: {name}, round {number + 1} of {repeats}")
                    if steps is STEPS:
                        found.setdefault((name, "naive"), []).append(_naive(name, files[name], device, place))
                    for step in steps:
                        one = _asked(server, caller, f"card-{name}", step)
                        found.setdefault((name, step), []).append(one)
            caller.close()
    naive_s = {name: statistics.median(one[0] for one in found[name, "naive"]) for name in models}
    return [_row(key, each, naive_s[key[0]], found[key[0], "naive"][0][1]) for key, each in found.items()]


def _asked(server: RunningServer, caller: HttpCaller, function: str, step: str) -> Any:
    if step == "imported" and not context_is_ready(server.agent_pid):
        # The first load of an environment opens its own, and has one made ready for those that follow.
        server.stand_at(function, "parked")
    if step != "warm":
        server.stand_at(function, step.partition(",")[0])
    if step in ("imported", "staged"):
        _await_context(server)
    answer, latency_s, phases = caller.ask(
        f"/function/{function}/answer", "application/json", b'{"value": 1.0}'
    )
    return latency_s, answer, phases


def _await_context(server: RunningServer) -> None:
    """Raises RuntimeError when no context gets ready."""
    deadline_s = time.monotonic() + _CONTEXT_S
    while not context_is_ready(server.agent_pid):
        server.check_alive()
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"no context was ready within {_CONTEXT_S:.0f} s")
        time.sleep(POLL_S)


def context_is_ready(agent_pid: int) -> bool:
    """Whether a process below this agent has a device's context and no function."""
    return bool(named(on_device.NAME, descendants(agent_pid)))


def _naive(name: str, file: Path, device: str, examples: Path) -> Any:
    start_s = time.monotonic()
    said = subprocess.run(
        [sys.executable, "-c", _NAIVE, name, str(file), device],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": _paths(examples)},
    )  # fmt: skip
    if said.returncode:
        raise RuntimeError(f"the naive start of {name} failed: {said.stderr[-500:]}")
    return time.monotonic() - start_s, json.loads(said.stdout), {}


def _paths(examples: Path) -> str:
    return os.pathsep.join([str(examples), *filter(None, [os.environ.get("PYTHONPATH")])])


def _row(key: tuple[str, str], found: list[Any], naive_s: float, right: Any) -> dict[str, Any]:
    model, step = key
    off = max(difference(answer, right) for _, answer, _ in found)
    names = dict.fromkeys(name for _, _, phases in found for name in phases)
    latency_s = [seconds for seconds, _, _ in found]
    return {
        "part": "served", "model": model, "system": "naive" if step == "naive" else "glowplug",
        "step": "local" if step == "naive" else step, **spread("latency_s", latency_s),
        "times_naive": naive_s / statistics.median(latency_s),
        "phases": {name: statistics.median(each[2].get(name, 0.0) for each in found) for name in names},
        "difference": off, "equal": off <= _TOLERANCE,
    }  # fmt: skip
