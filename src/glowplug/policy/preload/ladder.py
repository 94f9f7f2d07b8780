"""ladder: climb where the chance of a request, times the seconds it is spared, is worth most per byte, just
in time, and worth what it costs.

Each function is looked at when its next request comes into sight: when the chance that it comes within about
the time of a load begins to count. What could be climbed then is worth P(needed) x (seconds now - seconds
after) / bytes; it takes free memory, or that of what is worth less at this moment (eviction policy `ladder`).
Seconds of climbing and bytes held in vain have a price in seconds of waiting, and so have bytes that nobody
can have while they climb, where requests are in line for memory. A climb that is not worth it is not begun;
what was climbed in vain goes when it is not worth holding any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from math import inf, log

import msgspec

from glowplug.core.ids import FunctionId, InstanceId, NodeId
from glowplug.policy.preload import Decision, Drop, Guest, PreloadView, Raise, SandboxView

_SHARES = (0.02, 0.1, 0.3, 0.6)
"""Of the distribution of the next arrival: at each of these a function is looked at, a load before it."""
_STALE_ALLOWED = 256
_LEARNED_ANEW = 1.25
"""A function's distribution is looked at again when it has been called so many times as often."""


class Ladder(msgspec.Struct):
    """`due` is a heap of (when, function, round); a function's entries of earlier rounds are void. `offsets`
    has by function the round they were worked out in, and when to look after an arrival; `raised` when those
    were climbed that may be unused yet."""

    foresees: bool = True
    ends_unused: bool = True
    due: list[tuple[float, FunctionId, int]] = []
    rounds: dict[FunctionId, int] = {}
    offsets: dict[FunctionId, tuple[int, list[float]]] = {}
    raised: dict[FunctionId, float] = {}

    def arrived(self, view: PreloadView, function: FunctionId, now_s: float) -> None:
        turn = self.rounds[function] = self.rounds.get(function, 0) + 1
        known = self.offsets.get(function)
        if known is None or turn > known[0] * _LEARNED_ANEW:
            known = self.offsets[function] = turn, _offsets_s(view, function)
        for after_s in known[1]:
            heappush(self.due, (now_s + after_s, function, turn))
        if function in self.raised:
            # Another than the one that was climbed may answer.
            self._look_later(view, function, now_s)
        if len(self.due) > _STALE_ALLOWED + 8 * len(self.rounds):
            self.due = [entry for entry in self.due if self.rounds.get(entry[1]) == entry[2]]
            heapify(self.due)

    def next_s(self) -> float:
        while self.due and self.rounds.get(self.due[0][1]) != self.due[0][2]:
            heappop(self.due)
        return self.due[0][0] if self.due else inf

    def decide(self, view: PreloadView, now_s: float) -> Iterator[Decision]:
        while self.next_s() <= now_s:
            _, function, _ = heappop(self.due)
            if unused := view.unused(function):
                if self._is_worth_holding(view, function, now_s):
                    continue
                for number in unused:
                    yield Drop(number)
            self.raised.pop(function, None)
            decision = self._look(view, function, now_s) if view.may_load(function) else None
            if decision is not None:
                self.raised[function] = now_s
                self._look_later(view, function, now_s)
                yield decision

    def invoked(self, view: PreloadView, host: SandboxView, now_s: float) -> Iterable[InstanceId]:
        """Only as many guests as the owner needs the room of; and it has what it needs."""
        return ()

    def forget(self, function: FunctionId) -> None:
        self.rounds.pop(function, None)
        self.offsets.pop(function, None)
        self.raised.pop(function, None)

    def _look_later(
        self, view: PreloadView, function: FunctionId, now_s: float, after_s: float = 0.0
    ) -> None:
        after_s = max(after_s, view.horizon_s + view.load_s(function))
        heappush(self.due, (now_s + after_s, function, self.rounds[function]))

    def _is_worth_holding(self, view: PreloadView, function: FunctionId, now_s: float) -> bool:
        """Until it is looked at again, which is after as long as it has been held."""
        held_s = now_s - self.raised.setdefault(function, now_s)
        ahead_s = max(view.horizon_s + view.load_s(function), held_s)
        spared_s = view.needed(function, 0.0, ahead_s) * view.waits_s(function)
        if spared_s < view.byte_price * view.guest_bytes(function) * ahead_s:
            return False
        self._look_later(view, function, now_s, ahead_s)
        return True

    def _look(self, view: PreloadView, function: FunctionId, now_s: float) -> Decision | None:
        if view.ready(function):
            return None
        waits_s, ahead_s = view.waits_s(function), view.horizon_s + view.load_s(function)
        chance = view.needed(function, 0.0, ahead_s)

        def is_worth(node: NodeId, spared_s: float, held_bytes: int) -> bool:
            price_s = view.cpu_price(node) * spared_s + view.byte_price * held_bytes * ahead_s
            price_s += view.line_price(node) * held_bytes * spared_s
            return chance * spared_s > price_s

        guest_bytes = view.guest_bytes(function)
        best: Decision | None = None
        best_worth = -inf
        for node in view.homes(function):
            if is_worth(node, waits_s, guest_bytes):
                for sandbox in view.sandboxes(node):
                    if sandbox.id is not None and sandbox.is_idle and sandbox.room_bytes >= guest_bytes:
                        return Guest(function, node, sandbox.id)
            for step, need_bytes, after_s in view.steps_up(function, node):
                spared_s = waits_s - after_s
                if spared_s <= 0.0 or not is_worth(node, spared_s, need_bytes):
                    continue
                worth = log(chance * spared_s / max(1, need_bytes))
                if need_bytes <= view.room_bytes(node):
                    worth += 1.0
                if worth > best_worth:
                    best = Raise(function, NodeId(node), step, worth, now_s + view.horizon_s)
                    best_worth = worth
        return best


def _offsets_s(view: PreloadView, function: FunctionId) -> list[float]:
    """Seconds after an arrival when the next may come into sight; nothing for what comes all the time."""
    ahead_s = view.horizon_s / 2 + view.load_s(function)
    found: list[float] = []
    for share in _SHARES:
        after_s = view.quantile_s(function, share) - ahead_s
        if after_s < inf and after_s > (found[-1] if found else 0.0) + view.horizon_s / 2:
            found.append(after_s)
    return found
