"""`glowplug simulate`: a workload on devices that nobody has rented yet."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Parameter, validators

from glowplug.cli.functions import Json, Seed
from glowplug.cli.numbers import Whole
from glowplug.cli.output import check_plot, console, print_json
from glowplug.cli.progress import progress
from glowplug.cli.refused import Reasons, check_loads, largest_called
from glowplug.cli.simulate_shown import Drawn, answer_of, draw_runs, show
from glowplug.core.errors import InvalidArguments, InvalidDeclaration, InvalidWorkload
from glowplug.core.settings import ControlSettings
from glowplug.core.units import parse_bytes, parse_seconds, show_seconds
from glowplug.policy.registry import policy_class
from glowplug.sim.fleets import NEVER_S, FleetSettings, build, nodes_of
from glowplug.sim.models import BUILTIN, ModelProfile, read_models
from glowplug.sim.outcomes import Outcome, offered_load, play, run_estimates
from glowplug.sim.planned_faults import ANY, PlannedFault, Strike, parse_fault, strikes
from glowplug.sim.sizing import Sizing, devices_of_use, least_devices, runs_alone_s
from glowplug.sim.workloads.registry import make_trace
from glowplug.sim.workloads.trace import Trace

OURS = "finish-first"
_LOST = ("worker_died",)
"""What becomes of requests that run on a device as it fails."""
_MOST_DEVICES = 10_000


def simulate(
    workload: str,
    *,
    devices: Annotated[Whole, Parameter(validator=validators.Number(gte=1, lte=_MOST_DEVICES))] = 12,
    device_memory: str = "8GB",
    policy: Annotated[str, Parameter(name=["--policy", "-p"])] = OURS,
    eviction: str | None = None,
    profiles: str = BUILTIN,
    loader: Literal["paper", "ours"] = "ours",
    copy_bandwidth: str = "12GB",
    host_memory: str = "256GB",
    nodes: Whole = 1,
    max_batch: Whole = 1,
    latency_target: str | None = None,
    timeout: str | None = None,
    fault: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    profile_error: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=1000))] = 1.0,
    find: Literal["devices"] | None = None,
    p99: str | None = None,
    seed: Seed = 0,
    json: Json = False,
    plot: Path | None = None,
) -> None:
    """Simulate a workload on devices that cache models, with the scheduler that runs live.

    Function k of the workload is a model of its own, with row k of the profiles (counted on from the first
    when there are no more).

    For example:

        glowplug simulate zipf:functions=35,s=0.9,rate_per_min=325,minutes=6
        glowplug simulate azure2019:traces/azure2019_1h_1000fn,top=35,rate_per_min=325,minutes=6 \\
            --policy finish-first,lalb-o3,lb --loader paper
        glowplug simulate bursty:functions=70,rate_per_min=400,minutes=30 --find devices --p99 5s
        glowplug simulate events:calls.csv --profiles mine.csv --devices 4 --device-memory 80GB --plot out.png
        glowplug simulate zipf:rate_per_min=325 --fault slow:0@60s,factor=5,for=2m --fault loads:1@60s,count=3
        glowplug simulate zipf:rate_per_min=325 --fault memory:n0/gpu2@60s --fault gone:any@any --seed 3
        glowplug simulate zipf:rate_per_min=325 --find devices --p99 5s --fault gone:any@60s --profile-error 3

    Parameters
    ----------
    workload
        KIND:SETTING,... as `glowplug workload` lists them.
    devices
        How many there are.
    device_memory
        What each can hold.
    policy
        Who decides where requests run; several, separated by commas, are compared.
    eviction
        Which idle model goes when room is needed; without it value-per-byte for finish-first, lru for others.
    profiles
        What models take: `builtin` (22 CNNs, published), or a CSV file with the columns model, device_mb,
        load_s, run_s and, where they were measured, copy_s and batch_N_s.
    loader
        `ours` keeps loaded weights in the nodes' memory, from where the next load is a copy; `paper` reads
        them each time.
    copy_bandwidth
        Bytes a second of such a copy.
    host_memory
        What each node may hold of models.
    nodes
        The devices are dealt out to so many nodes.
    max_batch
        Requests of one function that may run as one, where the profiles say what that takes.
    latency_target
        How long an answer may take for the sake of a batch; without it finish-first makes none.
    timeout
        When a client gives up; without it never.
    fault
        What happens to a device: HARM:DEVICE@TIME; may be given again. HARM is `loads` (the next fail, 1 or
        `,count=N`), `memory` (it loses all that lies and runs there), `slow` (everything takes 10 times as
        long, or `,factor=X`) or `gone`; these two last, unless `,for=TIME` ends them. DEVICE is a number from
        0 on or a name as in the picture. `any` stands for a DEVICE or a TIME drawn by --seed.
    profile_error
        The scheduler is told so many times what loads and runs really take: 3, or 0.33. It learns.
    find
        `devices` looks for the fewest that keep p99 at --p99 or below; --devices is then not used. It doubles
        their number until that is so, at most to one for each call that a function has at once when it has
        most, all functions together (or 10,000); then it halves. What runs on a device as it fails is lost
        with any number, and not held against it.
    p99
        The bound for --find.
    seed
        For what is drawn.
    json
        Print JSON.
    plot
        Draw latencies, what each device did and what lay there into this file.
    """
    if (find is None) != (p99 is None):
        raise InvalidDeclaration("--find devices needs --p99, as in --p99 5s, and --p99 needs --find devices")
    names = [name.strip() for name in policy.split(",") if name.strip()]
    if not names:
        raise InvalidDeclaration("--policy: name at least one, such as finish-first")
    for name in names:
        policy_class("scheduling", name)
    if eviction is not None:
        policy_class("eviction", eviction)
    given: dict[str, Any] = {
        "devices": devices, "nodes": nodes, "device_bytes": parse_bytes(device_memory, "--device-memory"),
        "loader": loader, "copy_bytes_per_s": float(parse_bytes(copy_bandwidth, "--copy-bandwidth")),
        "host_bytes": parse_bytes(host_memory, "--host-memory"), "max_batch": max_batch,
        "latency_target_s": parse_seconds(latency_target, "--latency-target") if latency_target else 0.0,
        "timeout_s": NEVER_S if timeout is None else parse_seconds(timeout, "--timeout"),
        "told": profile_error,
    }  # fmt: skip
    check_plot(plot)
    planned = [parse_fault(text) for text in fault]
    models, trace = read_models(profiles), make_trace(workload, seed)
    if not trace.requests:
        raise InvalidWorkload(f"{workload} has no calls")
    reasons = Reasons(largest_called(models, trace), given["device_bytes"], timeout)
    if find is not None and reasons.too_large:
        raise InvalidWorkload(f"no number of devices is enough: {reasons.too_large}")
    check_loads(_settings(given, OURS, None), models, trace)
    _check_faults(planned, given, trace, seed, find is not None)
    p99_s = 0.0 if p99 is None else parse_seconds(p99, "--p99")
    alone_s = runs_alone_s(trace, models, 0.99)
    if find is not None and alone_s > p99_s and not planned:
        raise InvalidArguments(
            f"--p99: no number of devices is enough: runs alone take {show_seconds(alone_s)} at p99", "p99"
        )
    runs = _Runs(models, trace, seed, planned, keep_log=plot is not None)
    rows: list[dict[str, Any]] = []
    answers: dict[str, Sizing] = {}
    for name in names:
        settings = _settings(given, name, eviction)
        if p99 is None:
            rows.append(runs.row(settings))
            continue
        found = least_devices(
            lambda count, base=settings: runs.outcome(base, count),  # type: ignore[misc]
            p99_s=p99_s,
            first=ceil(offered_load(trace, models, 1)),
            most=min(_MOST_DEVICES, devices_of_use(trace, models) + len(planned)),
            excused=_LOST if planned else (),
        )
        answers[name] = found
        rows += [runs.described(settings, count, outcome) for count, outcome in sorted(found.tried.items())]
    if plot is not None:
        draw_runs(runs.last, workload, runs.trace.span_s, plot)
    if json:
        devices_found = {name: found.devices for name, found in answers.items()}
        print_json({"workload": workload, "seed": seed, "rows": rows, "devices": devices_found or None})
    else:
        show(rows, trace)
        for row in rows if find is None else ():
            if row["refused"]:
                words = f"{row['policy']}: {reasons.tell(row['refused'], row['requests'])}"
                console.print(words, style="yellow", highlight=False, markup=False)
        for name, found in answers.items():
            console.print(answer_of(name, found, p99 or "", device_memory, reasons, alone_s))
    unanswered = find is None and any(not row["answered"] for row in rows)
    if unanswered or any(found.devices is None for found in answers.values()):
        sys.exit(1)


class _Runs:
    """Simulates, with a bar on stderr; keeps the last run of each policy, and its faults, for a picture."""

    def __init__(
        self, models: tuple[ModelProfile, ...], trace: Trace, seed: int, planned: Sequence[PlannedFault], *,
        keep_log: bool,
    ) -> None:  # fmt: skip
        self.models, self.trace, self.seed, self.keep_log = models, trace, seed, keep_log
        self.planned = planned
        self.estimates: dict[tuple[str, int], float] = {}
        self.last: dict[str, Drawn] = {}

    def row(self, settings: FleetSettings) -> dict[str, Any]:
        return self.described(settings, settings.devices, self.outcome(settings, settings.devices))

    def outcome(self, base: FleetSettings, devices: int) -> Outcome:
        settings, struck = self._fleet_of(base, devices)
        fleet = build(
            settings, self.models, self.trace.functions, seed=self.seed, keep_log=self.keep_log,
            strikes=struck,
        )  # fmt: skip
        with progress(f"{settings.scheduling}, {devices} devices") as tell:
            outcome = play(fleet, self.trace, tell=tell)
        self.estimates[settings.scheduling, devices] = run_estimates(fleet, self.trace, self.models)
        if self.keep_log:
            self.last[settings.scheduling] = Drawn(fleet.simulation.run((), 0.0), struck)
        return outcome

    def described(self, settings: FleetSettings, devices: int, outcome: Outcome) -> dict[str, Any]:
        load = offered_load(self.trace, self.models, devices)
        about: dict[str, Any] = {
            "policy": settings.scheduling, "eviction": settings.eviction, "devices": devices,
            "device_bytes": settings.device_bytes, "loader": settings.loader, "offered_load": load,
            "faults": msgspec.to_builtins(self._fleet_of(settings, devices)[1]),
            "profile_error": settings.told,
            "run_estimates": self.estimates[settings.scheduling, devices],
        }  # fmt: skip
        about |= msgspec.to_builtins(outcome)
        return about | {"load_ratio": outcome.loads / max(1, outcome.requests), "simulated": True}

    def _fleet_of(self, base: FleetSettings, devices: int) -> tuple[FleetSettings, list[Strike]]:
        nodes = min(base.nodes, devices)
        settings = msgspec.structs.replace(base, devices=devices, nodes=nodes)
        return settings, strikes(self.planned, nodes_of(settings), self.trace.span_s, self.seed)


def _check_faults(
    planned: Sequence[PlannedFault], given: dict[str, Any], trace: Trace, seed: int, finds: bool
) -> None:
    named = [each for each in planned if each.device != ANY]
    if finds and named:
        raise InvalidArguments(
            f"--fault: {named[0].text!r}: --find tries several numbers of devices; write {ANY} for DEVICE",
            "fault",
        )
    standing = nodes_of(_settings(given, OURS, None))
    if len(strikes(planned, standing, trace.span_s, seed)) < len(planned) and not finds:
        raise InvalidArguments("--fault: there are too few devices for so many to fail", "fault")


def _settings(given: dict[str, Any], policy: str, eviction: str | None) -> FleetSettings:
    default = ControlSettings().device_eviction if policy == OURS else "lru"
    try:
        return msgspec.convert(given | {"scheduling": policy, "eviction": eviction or default}, FleetSettings)
    except msgspec.ValidationError as error:
        raise InvalidDeclaration(str(error)) from error
