"""When each worker has done what, from a spread and its exchange: the longest chain of computing and waiting.

Sizes of a worker's memory are looked at side by side, since all but the speed is the same: arrays are (M, P).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec.structs import replace

from glowplug.policy.plans.channels import Exchange, per_receiver, per_sender
from glowplug.policy.plans.channels.receiving import Arrivals
from glowplug.policy.plans.facts import Reals
from glowplug.policy.plans.model import IDEAL, CodecCost, Delays, MachineModel
from glowplug.policy.plans.spread import ROOT, Ids, Spread
from glowplug.policy.plans.tree import launch_tree, started_s


class Timing(msgspec.Struct, frozen=True):
    """Seconds from the first invocation. `runtime_s` is what workers are billed for, all together;
    `ready_s` when the last worker had its weights; `compute_s` what the busiest worker computes;
    `utilisation` the workers' computing as a share of their time, of each from when it was ready to the end;
    `receive_calls` what receivers asked the channel, billed as `receive_units`."""

    total_s: float
    runtime_s: float
    ready_s: float
    compute_s: float
    utilisation: float
    receive_calls: float
    receive_units: float


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
    encode, decode = machine.codec(whole=not spread.lag)
    coded = spread if spread.payloads is None else replace(spread, transfers=spread.payloads)
    taking = per_receiver(coded, _codec_s(coded, decode))
    # What is passed on by the root is decoded a step later.
    late = np.array(spread.relayed, np.int64)
    taking[late + 1], taking[late] = taking[late], 0.0
    return StepCosts(
        before=np.concatenate([spread.urgent_s, nothing]) + per_sender(coded, _codec_s(coded, encode)),
        after=np.concatenate([spread.idle_s, nothing]),
        taking=taking,
    )


def _codec_s(spread: Spread, cost: CodecCost) -> Reals:
    """For each transfer; what the root gathers is hardly any."""
    moved = spread.transfers
    inside = (moved.step < spread.steps).astype(float)
    return cost.seconds(inside, moved.values, moved.live_values, inside * moved.nbytes)


def timings(
    spread: Spread, exchange: Exchange, machine: MachineModel, delays: Delays, memory_mib: Sequence[int]
) -> list[Timing]:
    """One for each size. As if nothing queued up but on a worker itself, and messages of a step came
    together."""
    stretch = np.array([machine.stretch(size) for size in memory_mib])
    begun = np.array(started_s(launch_tree(spread.workers), delays.invoke_s, delays.start_s))
    ready = begun + loading_s(spread, machine, delays)
    walk = _Walk(spread, exchange, step_costs(spread, machine).scaled(stretch))
    ended = walk.ended(np.tile(ready, (len(stretch), 1)))
    computed = spread.compute_s.sum() * stretch
    return [
        Timing(
            total_s=float(ended[size, ROOT]),
            runtime_s=float((ended[size] - begun).sum()),
            ready_s=float(ready.max()),
            compute_s=float(spread.compute_s.max() * stretch[size]),
            utilisation=float(computed[size] / (ended[size, ROOT] - ready).sum()),
            receive_calls=float(walk.receiver.calls[size]),
            receive_units=float(walk.receiver.units[size]),
        )
        for size in range(len(stretch))
    ]


def floor_s(spread: Spread, exchange: Exchange, stretch: float = 1.0) -> float:
    """What this spread takes at least: computing at the calibrated rate, bytes and calls; nothing to start,
    load, encode or decode."""
    walk = _Walk(spread, exchange, step_costs(spread, IDEAL).scaled(np.array([stretch])))
    return float(walk.ended(np.zeros((1, spread.workers)))[0, ROOT])


def loading_s(spread: Spread, machine: MachineModel, delays: Delays) -> Reals:
    """(P,): from a worker's begin until it has its weights and inputs, having started its children."""
    tree = launch_tree(spread.workers)
    children = np.bincount(np.array(tree.parents) + 1, minlength=spread.workers + 1)[1:]
    load = np.array([share.load_bytes for share in spread.shares]) / machine.load_bytes_s
    found: Reals = children * delays.invoke_s + delays.get_s + load
    return found


class _Walk:
    """Along the steps of a spread, once."""

    def __init__(self, spread: Spread, exchange: Exchange, costs: StepCosts) -> None:
        self._spread = spread
        self._exchange = exchange
        self._costs = costs
        self._first = np.searchsorted(spread.transfers.step, np.arange(spread.steps + 2))
        self.receiver = exchange.receiver(len(costs.before))
        self._sent = np.zeros((len(costs.before), spread.workers))

    def ended(self, ready: Reals) -> Reals:
        """(M, P): when each worker ended, and the root with the whole result. `ready` (M, P)."""
        steps = self._spread.steps
        now = (self._together if self._spread.lag else self._passing)(ready.copy())
        sends = np.maximum(now, self._sent) if self._spread.beside else now
        gone = sends + self._exchange.send_s[steps]
        took = self._received(gone, self._entries(steps), sends)
        ended: Reals = took + (took > gone) * self._costs.taking[:, steps]
        return ended

    def _together(self, now: Reals) -> Reals:
        """Step k + 1 needs what others sent in step k. Beside computing, a worker sends, and is pushed what
        it needs or begins to look for it when it sends."""
        costs, beside, heard = self._costs, self._spread.beside, now.copy()
        for step in range(self._spread.steps):
            sent = now + costs.before[:, step]
            sends = np.maximum(sent, self._sent) if beside else sent
            self._sent = sends + self._exchange.send_s[step]
            now = (sent if beside else self._sent) + costs.after[:, step]
            if beside:
                looks = heard if self.receiver.ahead else np.maximum(heard, sent)
                heard = self._received(looks, self._entries(step), sends)
                now = np.maximum(now, heard) + costs.taking[:, step]
            else:
                now = self._received(now, self._entries(step), sends) + costs.taking[:, step]
        return now

    def _passing(self, now: Reals) -> Reals:
        """Step k is needed by the next stage in step k. All (step, stage) of one sum go at once. Beside
        computing, a worker sends what it computed before, and is pushed what comes next."""
        spread, costs, moved = self._spread, self._costs, self._spread.transfers
        entry = np.zeros((spread.steps, spread.workers), np.int64)
        inside = (moved.step < spread.steps) & ~spread.returns
        entry[moved.step[inside], moved.target[inside]] = np.flatnonzero(inside)
        first = np.arange(0, spread.workers, spread.stages)
        beside, ahead = spread.beside, spread.beside and self.receiver.ahead
        before, send_s = costs.taking + costs.before, self._exchange.send_s
        sends, heard = now.copy(), now.copy()
        for diagonal in range(spread.steps + spread.stages - 1):
            stage = np.arange(max(0, diagonal - spread.steps + 1), min(spread.stages, diagonal + 1))
            who = (stage[:, None] + first).ravel()
            step = np.repeat(diagonal - stage, len(first))
            waits = who % spread.stages > 0
            if waits.any():
                target, entries = who[waits], entry[step[waits], who[waits]]
                at = heard[:, target] if ahead else now[:, target]
                heard[:, target] = self.receiver.take_one(at, self._arrivals(entries, sends))
                now[:, target] = np.maximum(now[:, target], heard[:, target])
            now[:, who] += before[:, step, who]
            sends[:, who] = np.maximum(now[:, who], self._sent[:, who]) if beside else now[:, who]
            self._sent[:, who] = sends[:, who] + send_s[step, who]
            now[:, who] = (now if beside else self._sent)[:, who] + costs.after[:, step, who]
        self._take_back(now, sends)
        return now

    def _take_back(self, now: Reals, sends: Reals) -> None:
        """Counts the calls for what comes back to the first of a chain, which looks for it in passing."""
        moved = self._spread.transfers
        for step in np.unique(moved.step[self._spread.returns]):
            entries = np.flatnonzero(self._spread.returns & (moved.step == step)).astype(np.int32)
            self.receiver.take_one(now[:, moved.target[entries]], self._arrivals(entries, sends))

    def _entries(self, step: int) -> Ids:
        return np.arange(self._first[step], self._first[step + 1])

    def _received(self, now: Reals, entries: Ids, sends: Reals) -> Reals:
        return self.receiver.take(now, self._arrivals(entries, sends)) if len(entries) else now

    def _arrivals(self, entries: Ids, sends: Reals) -> Arrivals:
        """`sends` (M, P): when each source begins to send."""
        source = self._spread.transfers.source[entries]
        return Arrivals(
            target=self._spread.transfers.target[entries],
            source=source,
            messages=self._exchange.messages[entries],
            nbytes=self._exchange.came_bytes[entries],
            there_s=sends[:, source] + self._exchange.there_s[entries],
        )
