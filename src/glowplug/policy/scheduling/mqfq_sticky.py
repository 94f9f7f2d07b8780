"""mqfq-sticky: each function a flow with a virtual time; who is not far ahead goes where it is warm.

Source: Fuerst et al., "MQFQ-Sticky: Fair Queueing For Serverless GPU Functions" (arXiv 2507.08954, 2025), in
Iluvatar; after multi-queue fair queueing, Hedayati et al. (USENIX ATC 2019). By the published code: a flow
per function, its virtual time, throttling, a warm flow before a colder one that is behind it. Recalled: the
bound of 10 s, and two functions at a time on a device, one of which may be loading. Inferred: several
devices. Left out: hints to swap a resting flow's memory out, for which the device's eviction policy stands
here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import msgspec

from glowplug.core.ids import DeviceId, FunctionId
from glowplug.policy.scheduling import Decision, FleetView, Send
from glowplug.policy.scheduling.rooms import computing, runs_at_once, takes


class MqfqSticky(msgspec.Struct):
    """`next_s` is by flow the virtual time at which its next request would start: it grows by the expected
    run of each request sent, and is never below `virtual_s`, the least of all flows that have requests
    waiting. A flow more than `ahead_s` beyond that is throttled."""

    ahead_s: float = 10.0
    virtual_s: float = 0.0
    next_s: dict[FunctionId, float] = {}

    def decide(self, view: FleetView, now_s: float) -> Iterator[Decision]:
        while view.waiting_by_function and (view.free or view.half_free):
            flows = self._eligible(view)
            turns = sorted(flows, key=flows.__getitem__)
            chosen = _warm(view, turns) or _cold(view, turns)
            if chosen is None:
                return
            flow, device = chosen
            self.next_s[flow] += view.run_s(flow, device)
            yield Send((view.first(flow).id,), device)

    def _eligible(self, view: FleetView) -> dict[FunctionId, float]:
        """Flows with requests waiting that are not throttled, with their virtual times. A flow that begins
        again cannot claim the time in which it had nothing."""
        starts = {f: max(self.next_s.get(f, 0.0), self.virtual_s) for f in view.waiting_by_function}
        self.virtual_s = min(starts.values())
        self.next_s.update(starts)
        return {f: start_s for f, start_s in starts.items() if start_s <= self.virtual_s + self.ahead_s}

    def forget(self, function: FunctionId) -> None:
        self.next_s.pop(function, None)


def _warm(view: FleetView, flows: list[FunctionId]) -> tuple[FunctionId, DeviceId] | None:
    """The first flow that is warm on a device that computes nothing."""
    for flow in flows:
        for device in view.where(flow):
            if runs_at_once(view, flow, device):
                return flow, device
    return None


def _cold(view: FleetView, flows: list[FunctionId]) -> tuple[FunctionId, DeviceId] | None:
    """The first flow on a free device; one that is warm nowhere on one that computes, too."""
    for flow in flows:
        for device in chain(view.free, () if view.where(flow) else computing(view)):
            if takes(view, flow, device):
                return flow, device
    return None
