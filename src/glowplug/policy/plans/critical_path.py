"""When each worker has done what, from a spread and its exchange: the longest chain of computing and waiting.

Sizes of a worker's memory are looked at side by side, since all but the speed is the same: arrays are (M, P).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from glowplug.policy.plans.channels import Exchange, per_receiver, per_sender
from glowplug.policy.plans.facts import Reals
from glowplug.policy.plans.model import Delays, MachineModel
from glowplug.policy.plans.spread import Spread
from glowplug.policy.plans.tree import launch_tree, started_s


class Timing(msgspec.Struct, frozen=True):
    """Seconds from the first invocation. `runtime_s` is what workers are billed for, all together; `ready_s` when the
    last worker had its weights; `compute_s` what the busiest worker computes."""

    total_s: float
    runtime_s: float
    ready_s: float
    compute_s: float


class _Costs(msgspec.Struct, frozen=True, eq=False):
    """Seconds for each memory size, step and worker: before a worker sends, after it, and when it received."""

    before: Reals  # (M, K, P)
    after: Reals  # (M, K, P)
    opening: Reals  # (M, K, P + 1)


def timings(
    spread: Spread, exchange: Exchange, machine: MachineModel, delays: Delays, memory_mib: Sequence[int]
) -> list[Timing]:
    """One for each size. As if nothing queued up but on a worker itself, and messages of a step came together."""
    stretch = np.array([machine.stretch(size) for size in memory_mib])
    begun = np.array(started_s(launch_tree(spread.workers), delays.invoke_s, delays.start_s))
    ready = begun + loading_s(spread, machine, delays)
    start = np.tile(np.append(ready, 0.0), (len(stretch), 1))
    ended, gathered = _walk(spread, exchange, start, _costs(spread, exchange, machine, stretch))
    return [
        Timing(
            total_s=float(gathered[size]),
            runtime_s=float((ended[size] - begun).sum()),
            ready_s=float(ready.max()),
            compute_s=float(spread.compute_s.max() * stretch[size]),
        )
        for size in range(len(stretch))
    ]


def floor_s(spread: Spread, exchange: Exchange, stretch: float = 1.0) -> float:
    """What this spread takes at least: computing at the calibrated rate, bytes and calls; nothing to start, load,
    encode or decode."""
    start = np.zeros((1, spread.workers + 1))
    free = MachineModel(rates=((1.0, 1.0),))
    _, gathered = _walk(spread, exchange, start, _costs(spread, exchange, free, np.array([stretch])))
    return float(gathered[0])


def loading_s(spread: Spread, machine: MachineModel, delays: Delays) -> Reals:
    """(P,): from a worker's begin until it has its weights and inputs, having started its children."""
    tree = launch_tree(spread.workers)
    children = np.bincount(np.array(tree.parents) + 1, minlength=spread.workers + 1)[1:]
    load = np.array([share.load_bytes for share in spread.shares]) / machine.load_bytes_s
    found: Reals = children * delays.invoke_s + delays.get_s + load
    return found


def _costs(spread: Spread, exchange: Exchange, machine: MachineModel, stretch: Reals) -> _Costs:
    wide, workers = stretch[:, None, None], spread.workers
    encode = per_sender(spread, spread.transfers.values)[:, :workers] / machine.encode_values_s
    decode = per_receiver(spread, spread.transfers.values) / machine.decode_values_s
    return _Costs(
        before=(spread.urgent_s + encode) * wide,
        after=spread.idle_s * wide,
        opening=exchange.receive_s + decode * wide,
    )


def _walk(spread: Spread, exchange: Exchange, start: Reals, costs: _Costs) -> tuple[Reals, Reals]:
    """(when each worker ended, when the coordinator had everything)."""
    return (_together if spread.lag else _passing)(spread, exchange, start, costs)


def _together(spread: Spread, exchange: Exchange, now: Reals, costs: _Costs) -> tuple[Reals, Reals]:
    """Step k + 1 needs what others sent in step k."""
    workers, moved = spread.workers, spread.transfers
    first = np.searchsorted(moved.step, np.arange(spread.steps + 1))
    now = now.copy()
    gone = now
    for step in range(spread.steps):
        now[:, :workers] += costs.before[:, step]
        gone = now + exchange.send_s[step]
        now[:, :workers] += costs.after[:, step]
        part = slice(first[step], first[step + 1])
        arrives = np.zeros(now.shape)
        there = gone[:, moved.source[part]] + exchange.travel_s
        np.maximum.at(arrives, (slice(None), moved.target[part]), there)
        now = np.where(arrives > 0, np.maximum(now, arrives) + costs.opening[:, step], now)
    return np.maximum(now, gone)[:, :workers], now[:, workers]


def _passing(spread: Spread, exchange: Exchange, now: Reals, costs: _Costs) -> tuple[Reals, Reals]:
    """Step k is needed by the next stage in step k. All (step, stage) of one sum go at once."""
    workers, stages = spread.workers, spread.stages
    first = np.arange(0, workers, stages)
    now, gone, arrives = now.copy(), np.zeros(now.shape), np.zeros(now.shape)
    for diagonal in range(spread.steps + stages - 1):
        stage = np.arange(max(0, diagonal - spread.steps + 1), min(stages, diagonal + 1))
        who = (stage[:, None] + first).ravel()
        step = np.repeat(diagonal - stage, len(first))
        waits = who % stages > 0
        come = np.maximum(now[:, who], arrives[:, who]) + costs.opening[:, step, who]
        now[:, who] = np.where(waits, come, now[:, who]) + costs.before[:, step, who]
        gone[:, who] = np.maximum(now[:, who], gone[:, who]) + exchange.send_s[step, who]
        now[:, who] += costs.after[:, step, who]
        last = who % stages == stages - 1
        arrives[:, who[~last] + 1] = gone[:, who[~last]] + exchange.travel_s
        if last.any():
            there = gone[:, who[last]].max(axis=1) + exchange.travel_s
            now[:, workers] = np.maximum(now[:, workers], there) + costs.opening[:, step[last][0], workers]
    return np.maximum(now, gone)[:, :workers], now[:, workers]
