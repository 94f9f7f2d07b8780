"""What a decision costs the controller, by the number of devices; and that a hundred thousand models are no
more than their number."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from glowplug.bench.kept_runs import Row
from glowplug.bench.result import Claim, claim
from glowplug.bench.scheduling.cells import OUR_EVICTION, OURS, PUBLISHED_EVICTION
from glowplug.bench.scheduling.options import Options, Tell
from glowplug.core.commands import Command
from glowplug.core.events import Event, RequestArrived, RequestDone, StepReached
from glowplug.sim.fleets import Fleet, FleetSettings, build
from glowplug.sim.models import read_models
from glowplug.sim.outcomes import play, quantile
from glowplug.sim.workloads.registry import make_trace

PART = "decisions"
TARGETS_S = {12: 0.05e-3, 100: 0.1e-3, 1000: 0.3e-3}
SIMULATED_DEVICES, REQUESTS_PER_WALL_SECOND = 12, 50_000
MODELS_PER_DEVICE = 3
RATE_PER_DEVICE = 27.0
"""As 325 a minute for 12."""
SYSTEMS = ((OURS, OUR_EVICTION), ("lalb-o3", PUBLISHED_EVICTION))
SCALE_DEVICES = 1000
NO_MORE_THAN = 2.0
"""How many times a request may cost what it does with ten times fewer models."""
_TIMED = (RequestArrived, RequestDone, StepReached)


def run(options: Options, tell: Tell) -> tuple[list[Row], list[Claim], list[str]]:
    """In this process, whose clock nobody else shares: nothing is simulated beside it here."""
    rows, claims = [], []
    for devices in options.decision_devices:
        for system, eviction in SYSTEMS:
            tell(f"decisions: {system} on {devices} devices")
            row = _timed(options, devices, system, eviction)
            rows.append(row)
            if system == OURS and devices in TARGETS_S:
                words = f"{devices} devices: a decision's median_s"
                claims.append(claim(words, row["decision_p50_s"], "at most", TARGETS_S[devices]))
            if system == OURS and devices == SIMULATED_DEVICES:
                words = f"{devices} devices: requests simulated in a second of wall time"
                speed = row["requests_per_wall_second"]
                claims.append(claim(words, speed, "at least", REQUESTS_PER_WALL_SECOND))
    scale = []
    for functions in options.scale_functions:
        tell(f"decisions: {functions:,} models on {SCALE_DEVICES} devices")
        scale.append(_scaled(options, functions))
    rows += scale
    if len(scale) > 1:
        few, many = scale[0], scale[-1]
        for field, words in (("request_s", "a request's cost"), ("deploy_s", "a deploy's cost")):
            times = many[field] / few[field]
            name = f"{many['functions']:,} models against {few['functions']:,}: {words}, times"
            claims.append(claim(name, times, "at most", NO_MORE_THAN))
    return rows, claims, []


def _timed(options: Options, devices: int, system: str, eviction: str) -> Row:
    functions, rate = MODELS_PER_DEVICE * devices, RATE_PER_DEVICE * devices
    minutes = options.decision_requests / rate
    trace = make_trace(f"zipf:functions={functions},s=0.9,rate_per_min={rate},minutes={minutes}", 0)
    settings = FleetSettings(devices=devices, scheduling=system, eviction=eviction)
    fleet = build(settings, read_models(), functions)
    took_s = _watched(fleet)
    outcome = play(fleet, trace)
    every = sorted(seconds for found in took_s.values() for seconds in found)
    return {
        "part": PART, "system": system, "policy": system, "devices": devices, "functions": functions,
        "requests": outcome.requests, "decisions": len(every), "decision_p50_s": statistics.median(every),
        "decision_p99_s": quantile(every, 0.99),
        **{
            f"{kind.__name__}_p50_s": statistics.median(found) for kind, found in took_s.items() if found
        },
        "requests_per_wall_second": outcome.requests / outcome.wall_s,
        "simulated": "devices; the controller's time is real",
    }  # fmt: skip


def _watched(fleet: Fleet) -> dict[type, list[float]]:
    """Has every event timed that schedules anything; what each took, by its kind."""
    state = fleet.simulation.state
    took_s: dict[type, list[float]] = {kind: [] for kind in _TIMED}
    handle, clock = state.handle, time.perf_counter

    def timed(event: Event, now_s: float) -> list[Command]:
        start_s = clock()
        commands = handle(event, now_s)
        spent_s = clock() - start_s
        if type(event) in took_s:
            took_s[type(event)].append(spent_s)
        return commands

    state.handle = timed  # type: ignore[method-assign]
    return took_s


def _scaled(options: Options, functions: int) -> Row:
    settings = FleetSettings(devices=SCALE_DEVICES)
    rate = RATE_PER_DEVICE * SCALE_DEVICES / 2
    minutes = options.decision_requests / rate
    trace = make_trace(f"zipf:functions={functions},s=0.9,rate_per_min={rate},minutes={minutes}", 0)
    before_bytes = _resident_bytes()
    fleet = build(settings, read_models(), functions)
    began_s = time.process_time()
    fleet.simulation.run(fleet.opening, 0.0)
    deployed_s = time.process_time()
    held_bytes = _resident_bytes() - before_bytes
    fleet.opening.clear()
    outcome = play(fleet, trace)
    ended_s = time.process_time()
    return {
        "part": PART, "system": OURS, "policy": OURS, "devices": SCALE_DEVICES, "functions": functions,
        "requests": outcome.requests, "deploy_s": (deployed_s - began_s) / functions,
        "request_s": (ended_s - deployed_s) / max(1, outcome.requests),
        "memory_bytes": held_bytes, "memory_per_function_bytes": held_bytes / functions,
        "simulated": "devices; the controller's time and memory are real",
    }  # fmt: skip


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
