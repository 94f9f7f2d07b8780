"""Through the root: in layers of many pairs each worker sends it one bundle, and gets one from it.

To the channel a step is two: in 2 s what is sent for it, in 2 s + 1 what the root passes on. Everybody sends
a bundle for each step of `orders.relayed`, empty or not: the root need not know who has something for whom.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from glowplug.distributed.channels.base import Buffer
from glowplug.distributed.errors import FrameCorrupt
from glowplug.distributed.frame import Kind, Payload
from glowplug.distributed.orders import ROOT
from glowplug.distributed.post import Open, Parcel, Post

ENTRY = struct.Struct("<HBI")  # worker, kind, bytes
NOTHING = Payload(Kind.NULL, b"")
Bundle = dict[int, Payload]
Steps = Mapping[int, list[int]]


def packed(payloads: Iterable[tuple[int, tuple[Kind, Buffer]]]) -> tuple[Kind, bytes]:
    """By worker; those of which there is nothing are left out."""
    parts: list[Buffer] = []
    for worker, (kind, body) in payloads:
        if kind != Kind.NULL:
            parts += [ENTRY.pack(worker, kind, len(body)), body]
    return Kind.BYTES, b"".join(parts)


def unpacked(payload: Payload) -> Bundle:
    """Raises FrameCorrupt."""
    body, found, at = memoryview(payload.body), {}, 0
    while at < len(body):
        start = at + ENTRY.size
        if start > len(body):
            raise FrameCorrupt("a bundle ends within an entry")
        worker, kind, nbytes = ENTRY.unpack_from(body, at)
        at = start + nbytes
        if at > len(body) or kind not in (Kind.ROWS, Kind.BYTES):
            raise FrameCorrupt(f"a bundle of {len(body)} bytes has {nbytes} of kind {kind} for {worker}")
        found[worker] = Payload(Kind(kind), body[start:at])
    return found


class Route:
    """Who sends a worker what, and whom it sends it, in the steps of the channel: from its `sources` and
    `targets` in those of the run."""

    def __init__(
        self, worker: int, workers: int, relayed: Iterable[int], sources: Steps, targets: Steps
    ) -> None:
        self.relayed = frozenset(relayed)
        self.is_root = worker == ROOT
        self.others = [other for other in range(workers) if other != ROOT]
        self.expected = sources
        self._targets = targets

    def step(self, step: int) -> int:
        """In which what is sent for it is sent."""
        return 2 * step if self.relayed else step

    def sources(self) -> dict[int, list[int]]:
        found = self._straight(self.expected)
        if self.is_root:
            return found | {2 * step: self.others for step in self.relayed}
        return found | {2 * step + 1: [ROOT] for step in self.relayed if step in self.expected}

    def targets(self) -> dict[int, list[int]]:
        found = self._straight(self._targets)
        if self.is_root:
            return found | {2 * step + 1: self.others for step in self.relayed}
        return found | {2 * step: [ROOT] for step in self.relayed}

    def all_targets(self) -> list[int]:
        return sorted({target for who in self.targets().values() for target in who})

    def opener(self, open_payload: Open) -> Open:
        """Opens what comes in steps of the channel. Raises FrameError."""
        if not self.relayed:
            return open_payload
        bundled = {2 * step + (not self.is_root) for step in self.relayed}

        def open_any(step: int, source: int, payload: Payload) -> Any:
            if step not in bundled:
                return open_payload(step // 2, source, payload)
            bundle = unpacked(payload)
            return bundle if self.is_root else self.mine(step // 2, bundle, open_payload)

        return open_any

    def mine(self, step: int, bundle: Mapping[int, Payload], open_payload: Open) -> dict[int, Any]:
        return {
            source: open_payload(step, source, bundle.get(source, NOTHING))
            for source in self.expected.get(step, ())
        }

    def _straight(self, who: Steps) -> dict[int, list[int]]:
        return {self.step(step): found for step, found in who.items() if step not in self.relayed}


class RelayPost:
    """A post whose bundles are another's payloads. `first` is the step that the worker begins with.

    The root passes on what there is for a step once it waits for it, or for a later one.
    """

    def __init__(self, inner: Post, route: Route, open_payload: Open, first: int) -> None:
        self._inner, self._route, self._open = inner, route, open_payload
        self._unsent = [step for step in sorted(route.relayed) if step >= first]
        self._held = list(self._unsent) if route.is_root else []
        self._own: dict[int, Sequence[Parcel]] = {}

    def send(self, step: int, parcels: Sequence[Parcel]) -> None:
        self._go_on_to(step)
        if step in self._route.relayed:
            self._bundle(step, parcels)
        else:
            self._inner.send(self._route.step(step), parcels)

    def wait(self, step: int) -> dict[int, Any]:
        self._go_on_to(step)
        if step not in self._route.relayed:
            return self._inner.wait(self._route.step(step))
        self._bundle(step, ())
        if self._route.is_root:
            return self._route.mine(step, self._pass_on(step), self._open)
        found: dict[int, Any] = self._inner.wait(2 * step + 1)[ROOT]
        return found

    def wait_until(self, targets: Iterable[int], step: int, most_stalls: int | None = None) -> None:
        self._inner.wait_until(targets, self._route.step(step), most_stalls)

    def done(self, step: int) -> None:
        # What the root has not passed on yet would be dropped.
        self._go_on_to(step)
        self._inner.done(self._route.step(step))

    def settle(self, step: int) -> None:
        self._go_on_to(step)
        self._inner.settle(self._route.step(step))

    def flush(self) -> None:
        while self._unsent:
            self._bundle(self._unsent[0], ())
        self._inner.flush()

    def close(self) -> None:
        self._inner.close()

    def _go_on_to(self, step: int) -> None:
        """Others wait for what this worker has of the steps before, though it has nothing."""
        while self._unsent and self._unsent[0] < step:
            self._bundle(self._unsent[0], ())
        while self._held and self._held[0] < step:
            self._pass_on(self._held[0])

    def _bundle(self, step: int, parcels: Sequence[Parcel]) -> None:
        """Once."""
        if step not in self._unsent:
            return
        self._unsent.remove(step)
        if self._route.is_root:
            self._own[step] = parcels
        else:
            wrap = lambda: packed((target, made()) for target, made in parcels)  # noqa: E731
            self._inner.send(2 * step, [(ROOT, wrap)])

    def _pass_on(self, step: int) -> Bundle:
        """What there is for the root itself, by source."""
        came: dict[int, Bundle] = self._inner.wait(2 * step)
        own: dict[int, Callable[[], tuple[Kind, Buffer]]] = dict(self._own.pop(step))
        self._held.remove(step)
        wraps = [(target, partial(_for_target, target, came, own)) for target in self._route.others]
        self._inner.send(2 * step + 1, wraps)
        return _for(ROOT, came)


def _for(target: int, came: Mapping[int, Bundle]) -> Bundle:
    return {source: bundle[target] for source, bundle in came.items() if target in bundle}


def _for_target(
    target: int, came: Mapping[int, Bundle], own: Mapping[int, Callable[[], tuple[Kind, Buffer]]]
) -> tuple[Kind, Buffer]:
    roots = [(ROOT, own[target]())] if target in own else []
    return packed([*roots, *_for(target, came).items()])
