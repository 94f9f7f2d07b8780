"""Rows through the root: what workers send each other after a layer goes to it in one message from each, and
on in one to each. That is 2 (P - 1) messages in place of P (P - 1), for a hop more.

A layer becomes two steps: in the even one all send, in the odd one the root passes on. Layers of few pairs
are sent as they were, in the even one.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from glowplug.policy.plans.facts import Reals
from glowplug.policy.plans.spread import ROOT, Share, Spread, Transfers, join, transfers

PAIRS_A_WORKER = 9
"""From more than this on a layer is relayed. A message through a topic costs some 1.3e-7 $ with its share of
a publish and of a poll; what is relayed costs a worker two sends and a poll: 1.2e-6 $."""
ENTRY_BYTES = 7
"""Of a bundle, for each payload in it."""


def is_relayed(pairs: NDArray[np.integer], workers: int) -> NDArray[np.bool_]:
    """Of layers after which so many pairs of workers have something to send."""
    worth: NDArray[np.bool_] = pairs > PAIRS_A_WORKER * (workers - 1)
    return worth


def relayed(spread: Spread) -> Spread | None:
    """The same work; None where no layer has so many pairs that it is worth it."""
    moved, steps = spread.transfers, spread.steps
    through = is_relayed(np.bincount(moved.step, minlength=steps + 1)[:steps], spread.workers)
    if not through.any():
        return None
    passing = np.append(through, False)[moved.step]
    payloads = msgspec.structs.replace(moved, step=2 * moved.step)
    bundled = _some(payloads, passing)
    parts = [_some(payloads, ~passing), _bundles(bundled, spread.workers)]
    return msgspec.structs.replace(
        spread,
        cut=msgspec.structs.replace(spread.cut, relayed=True),
        shares=(_with_bundles(spread, bundled), *spread.shares[1:]),
        urgent_s=_doubled(spread.urgent_s),
        idle_s=_doubled(spread.idle_s),
        transfers=join(parts),
        payloads=payloads,
        relayed=tuple((2 * np.flatnonzero(through)).tolist()),
    )


def _doubled(seconds: Reals) -> Reals:
    found = np.zeros((2 * len(seconds), seconds.shape[1]))
    found[::2] = seconds
    return found


def _some(moved: Transfers, which: NDArray[np.bool_]) -> Transfers:
    return Transfers(*(getattr(moved, name)[which] for name in Transfers.__struct_fields__))


def _bundles(moved: Transfers, workers: int) -> Transfers:
    """Everybody's to the root, then the root's to everybody, empty or not: nobody has to know of others."""
    steps = np.unique(moved.step)
    step, other = np.repeat(steps, workers - 1), np.tile(np.arange(1, workers), len(steps))
    root, nothing = np.full(len(step), ROOT), np.zeros(len(step))

    def sums(end: NDArray[np.integer], values: Reals) -> Reals:
        place = np.searchsorted(steps, moved.step) * workers + end
        summed: Reals = np.bincount(place, values, len(steps) * workers).astype(np.float64)
        others: Reals = summed.reshape(len(steps), workers)[:, 1:].ravel()
        return others

    nbytes = moved.nbytes + ENTRY_BYTES
    to_root = [step, other, root, sums(moved.source, moved.rows.astype(float)), nothing, nothing]
    from_root = [step + 1, root, other, nothing, nothing, nothing]
    return join(
        [
            transfers([*to_root, sums(moved.source, nbytes)]),
            transfers([*from_root, sums(moved.target, nbytes)]),
        ]
    )


def _with_bundles(spread: Spread, moved: Transfers) -> Share:
    """The root holds all that a layer sends, as it came and as it goes on."""
    most = np.bincount(moved.step, moved.nbytes + ENTRY_BYTES).max()
    share = spread.shares[ROOT]
    return msgspec.structs.replace(share, memory_bytes=share.memory_bytes + 2 * int(most))
