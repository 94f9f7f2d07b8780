"""When each worker has done what, from a spread and its exchange: the longest chain of computing and waiting.

Sizes of a worker's memory are looked at side by side, since all but the speed is the same: arrays are (M, P).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from glowplug.policy.plans.channels import Exchange, per_receiver, per_sender
from glowplug.policy.plans.facts import Reals
from glowplug.policy.plans.model import IDEAL, CodecCost, Delays, MachineModel
from glowplug.policy.plans.spread import ROOT, Spread
from glowplug.policy.plans.tree import launch_tree, started_s


class Timing(msgspec.Struct, frozen=True):
    """Seconds from the first invocation. `runtime_s` is what workers are billed for, all together; `ready_s` when the
    last worker had its weights; `compute_s` what the busiest worker computes; `utilisation` the workers' computing
    as a share of their time from then to the end."""

    total_s: float
    runtime_s: float
    ready_s: float
    compute_s: float
    utilisation: float


class StepCosts(msgspec.Struct, frozen=True, eq=False):
    """A worker's own seconds in each step: before it sends, after it, and to take in what it received."""

    before: Reals  # (..., K + 1, P)
    after: Reals
    taking: Reals

    def scaled(self, stretch: Reals) -> StepCosts:
        wide = stretch[:, None, None]
        return StepCosts(self.before * wide, self.after * wide, self.taking * wide)


def step_costs(spread: Spread, machine: MachineModel) -> StepCosts:
    """Of one calibrated core; in step K, the gathering, nobody computes."""
    nothing = np.zeros((1, spread.workers))
    return StepCosts(
        before=np.concatenate([spread.urgent_s, nothing]) + per_sender(spread, _codec_s(spread, machine.encode)),
        after=np.concatenate([spread.idle_s, nothing]),
        taking=per_receiver(spread, _codec_s(spread, machine.decode)),
    )


def _codec_s(spread: Spread, cost: CodecCost) -> Reals:
    """For each transfer; what the root gathers is hardly any."""
    moved = spread.transfers
    return cost.seconds((moved.step < spread.steps).astype(float), moved.values, moved.live_values)


def timings(
    spread: Spread, exchange: Exchange, machine: MachineModel, delays: Delays, memory_mib: Sequence[int]
) -> list[Timing]:
    """One for each size. As if nothing queued up but on a worker itself, and messages of a step came together."""
    stretch = np.array([machine.stretch(size) for size in memory_mib])
    begun = np.array(started_s(launch_tree(spread.workers), delays.invoke_s, delays.start_s))
    ready = begun + loading_s(spread, machine, delays)
    start = np.tile(ready, (len(stretch), 1))
    ended = _walk(spread, exchange, start, step_costs(spread, machine).scaled(stretch))
    computed = spread.compute_s.sum() * stretch
    return [
        Timing(
            total_s=float(ended[size, ROOT]),
            runtime_s=float((ended[size] - begun).sum()),
            ready_s=float(ready.max()),
            compute_s=float(spread.compute_s.max() * stretch[size]),
            utilisation=float(computed[size] / spread.workers / (ended[size, ROOT] - ready.max())),
        )
        for size in range(len(stretch))
    ]


def floor_s(spread: Spread, exchange: Exchange, stretch: float = 1.0) -> float:
    """What this spread takes at least: computing at the calibrated rate, bytes and calls; nothing to start, load,
    encode or decode."""
    start = np.zeros((1, spread.workers))
    costs = step_costs(spread, IDEAL).scaled(np.array([stretch]))
    return float(_walk(spread, exchange, start, costs)[0, ROOT])


def loading_s(spread: Spread, machine: MachineModel, delays: Delays) -> Reals:
    """(P,): from a worker's begin until it has its weights and inputs, having started its children."""
    tree = launch_tree(spread.workers)
    children = np.bincount(np.array(tree.parents) + 1, minlength=spread.workers + 1)[1:]
    load = np.array([share.load_bytes for share in spread.shares]) / machine.load_bytes_s
    found: Reals = children * delays.invoke_s + delays.get_s + load
    return found


def _walk(spread: Spread, exchange: Exchange, start: Reals, costs: StepCosts) -> Reals:
    """(M, P): when each worker ended; the root with the whole result."""
    walk = _together if spread.lag else _passing
    now, gone = walk(spread, exchange, start.copy(), costs)
    now = np.maximum(now, gone) + costs.before[:, -1]
    part = spread.transfers.step == spread.steps
    sources = spread.transfers.source[part]
    if len(sources):
        now[:, sources] += exchange.send_s[-1, sources]
        there = now[:, sources].max(axis=1) + exchange.travel_s
        now[:, ROOT] = np.maximum(now[:, ROOT], there) + exchange.receive_s[-1, ROOT] + costs.taking[:, -1, ROOT]
    return now


def _together(spread: Spread, exchange: Exchange, now: Reals, costs: StepCosts) -> tuple[Reals, Reals]:
    """Step k + 1 needs what others sent in step k."""
    moved = spread.transfers
    first = np.searchsorted(moved.step, np.arange(spread.steps + 1))
    gone = now
    for step in range(spread.steps):
        now = now + costs.before[:, step]
        gone = now + exchange.send_s[step]
        now = now + costs.after[:, step]
        part = slice(first[step], first[step + 1])
        arrives = np.zeros(now.shape)
        there = gone[:, moved.source[part]] + exchange.travel_s
        np.maximum.at(arrives, (slice(None), moved.target[part]), there)
        came = np.maximum(now, arrives) + exchange.receive_s[step] + costs.taking[:, step]
        now = np.where(arrives > 0, came, now)
    return now, gone


def _passing(spread: Spread, exchange: Exchange, now: Reals, costs: StepCosts) -> tuple[Reals, Reals]:
    """Step k is needed by the next stage in step k. All (step, stage) of one sum go at once."""
    workers, stages = spread.workers, spread.stages
    first = np.arange(0, workers, stages)
    gone, arrives = np.zeros(now.shape), np.zeros(now.shape)
    for diagonal in range(spread.steps + stages - 1):
        stage = np.arange(max(0, diagonal - spread.steps + 1), min(stages, diagonal + 1))
        who = (stage[:, None] + first).ravel()
        step = np.repeat(diagonal - stage, len(first))
        come = np.maximum(now[:, who], arrives[:, who])
        come += exchange.receive_s[step, who] + costs.taking[:, step, who]
        now[:, who] = come + costs.before[:, step, who]
        gone[:, who] = np.maximum(now[:, who], gone[:, who]) + exchange.send_s[step, who]
        now[:, who] += costs.after[:, step, who]
        passes = who[who % stages < stages - 1]
        arrives[:, passes + 1] = gone[:, passes] + exchange.travel_s
    return now, gone
