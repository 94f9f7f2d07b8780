"""ladder: climb where the chance of a request, times the seconds it is spared, is worth most per byte, just
in time, and worth what it costs.

Each function is looked at when its next request comes into sight: when the chance that it comes within about
the time of a load begins to count. What could be climbed then is worth P(needed) x (seconds now - seconds
after) / bytes; it takes free memory, or that of what is worth less at this moment (eviction policy `ladder`).
Seconds of climbing and bytes held in vain have a price in seconds of waiting, and so have bytes that nobody
can have while they climb, where requests are in line for memory. A climb that is not worth it is not begun;
what was climbed in vain goes when it is not worth holding any more.

Nothing can be predicted for a function that nobody has called yet. It gets only free memory, until
somebody needs that, or nothing where the settings say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from math import exp, inf, log

import msgspec

from glowplug.core.ids import FunctionId, InstanceId, NodeId
from glowplug.policy.preload import Decision, Drop, Guest, PreloadView, Raise, SandboxView, Unstage
from glowplug.policy.preload.looks import Offset, offsets_of
from glowplug.policy.soon import LATER, WIDER, needed_soon

_LEAST = 1e-12
_TOGETHER = 256
"""Functions that nobody has called yet that are looked at in one go, at most."""
_STALE_ALLOWED = 256
_LEARNED_ANEW = 1.25
"""A function's distribution is looked at again when it has been called so many times as often."""


class Ladder(msgspec.Struct):
    """`due` is a heap of (when, function, round, share, next); a function's entries of earlier rounds are
    void. No two rounds have the same number, also of a function that was forgotten and is back; those before
    a first call are below 0. The last of a function's looks has the share of its distribution that is past
    then, others 0 and when the next is. `uncalled` are looked at next. `offsets` has by function after how
    many `calls` they were worked out, and when to look after an arrival; `came_s` when that was, or when it
    was introduced, `raised` when those were climbed that may be unused yet."""

    foresees: bool = True
    ends_unused: bool = True
    due: list[tuple[float, FunctionId, int, float, float]] = []
    uncalled: list[FunctionId] = []
    turns: int = 0
    rounds: dict[FunctionId, int] = {}
    calls: dict[FunctionId, int] = {}
    came_s: dict[FunctionId, float] = {}
    offsets: dict[FunctionId, tuple[int, list[Offset]]] = {}
    raised: dict[FunctionId, float] = {}

    def introduced(self, view: PreloadView, function: FunctionId, now_s: float) -> None:
        if function not in self.rounds and view.loads_uncalled:
            self.turns += 1
            turn = self.rounds[function] = -self.turns
            self.came_s[function] = now_s
            heappush(self.due, (now_s + view.horizon_s, function, turn, 0.0, 0.0))

    def arrived(self, view: PreloadView, function: FunctionId, now_s: float) -> None:
        self._begin_round(function)
        calls = self.calls[function] = self.calls.get(function, 0) + 1
        self.came_s[function] = now_s
        known = self.offsets.get(function)
        if known is None or calls > known[0] * _LEARNED_ANEW:
            known = self.offsets[function] = calls, offsets_of(view, function)
        self._look_at(function, known[1])
        if function in self.raised:
            # Another than the one that was climbed may answer.
            self._look_later(view, function, now_s)
        if len(self.due) > _STALE_ALLOWED + 8 * len(self.rounds):
            self.due = [entry for entry in self.due if self.rounds.get(entry[1]) == entry[2]]
            heapify(self.due)

    def next_s(self) -> float:
        return -inf if self.uncalled else self._due_s()

    def _due_s(self) -> float:
        while self.due and self.rounds.get(self.due[0][1]) != self.due[0][2]:
            heappop(self.due)
        return self.due[0][0] if self.due else inf

    def decide(self, view: PreloadView, now_s: float) -> Iterator[Decision]:
        while self._due_s() <= now_s and len(self.uncalled) < _TOGETHER:
            at_s, function, turn, past, next_s = heappop(self.due)
            if turn < 0:
                self.uncalled.append(function)
                continue
            if past:
                more = offsets_of(view, function, past, at_s - self.came_s[function])
                next_s = self._look_at(function, more)
            if unused := view.unused(function):
                worker = view.guest_bytes(function), view.waits_s(function)
                if self._is_worth_holding(view, function, now_s, *worker):
                    continue
                # Should nobody ask on, it is looked at once more.
                heappush(self.due, (at_s, function, turn, 0.0, next_s))
                for number in unused:
                    yield Drop(number)
                heappop(self.due)
            staged = view.staged_ahead(function)
            if not staged:
                self.raised.pop(function, None)
            decision = self._look(view, function, now_s, next_s) if view.may_load(function) else None
            if decision is not None:
                self.raised[function] = now_s
                self._look_later(view, function, now_s)
                yield decision
            elif staged and not self._is_worth_holding(view, function, now_s, *view.zygote(function)):
                self.raised.pop(function, None)
                for node in staged:
                    yield Unstage(function, node)
        yield from self._fill(view, now_s)

    def invoked(self, view: PreloadView, host: SandboxView, now_s: float) -> Iterable[InstanceId]:
        """No guest has to go: guests leave only where their owner needs the room, and it has what it
        needs."""
        return ()

    def forget(self, function: FunctionId) -> None:
        self.rounds.pop(function, None)
        self.calls.pop(function, None)
        self.came_s.pop(function, None)
        self.offsets.pop(function, None)
        self.raised.pop(function, None)
        self.uncalled = [each for each in self.uncalled if each != function]

    def lost(self, node: NodeId) -> None:
        return

    def _begin_round(self, function: FunctionId) -> int:
        self.turns += 1
        self.rounds[function] = self.turns
        return self.turns

    def _look_at(self, function: FunctionId, offsets: Sequence[Offset]) -> float:
        """Returns when it is looked at first, 0 for never."""
        came_s, turn = self.came_s[function], self.rounds[function]
        for place, (after_s, past) in enumerate(offsets):
            next_s = 0.0 if past else came_s + offsets[place + 1][0]
            heappush(self.due, (came_s + after_s, function, turn, past, next_s))
        return came_s + offsets[0][0] if offsets else 0.0

    def _look_later(
        self, view: PreloadView, function: FunctionId, now_s: float, after_s: float = 0.0
    ) -> None:
        after_s = max(after_s, view.horizon_s + view.load_s(function))
        heappush(self.due, (now_s + after_s, function, self.rounds[function], 0.0, 0.0))

    def _is_worth_holding(
        self, view: PreloadView, function: FunctionId, now_s: float, held_bytes: int, spares_s: float
    ) -> bool:
        """Until it is looked at again, which is after as long as it has been held."""
        held_s = now_s - self.raised.setdefault(function, now_s)
        ahead_s = max(view.horizon_s + view.load_s(function), held_s)
        spared_s = view.needed(function, 0.0, ahead_s) * spares_s
        if spared_s < view.byte_price * held_bytes * ahead_s:
            return False
        self._look_later(view, function, now_s, ahead_s)
        return True

    def _fill(self, view: PreloadView, now_s: float) -> Iterator[Decision]:
        """Those that were introduced together, by the seconds that they spare a byte."""
        able: list[FunctionId] = []
        for function in self.uncalled:
            if self.rounds[function] > 0:
                continue
            if view.may_load(function) and not view.ready(function):
                able.append(function)
            else:
                self._look_later(view, function, now_s, now_s - self.came_s[function])
        able.sort(key=lambda function: -view.waits_s(function) / max(1, view.guest_bytes(function)))
        self.uncalled = able
        while self.uncalled:
            function = self.uncalled.pop(0)
            self._look_later(view, function, now_s, now_s - self.came_s[function])
            decision = self._look_uncalled(view, function, now_s)
            if decision is not None:
                yield decision

    def _look_uncalled(self, view: PreloadView, function: FunctionId, now_s: float) -> Decision | None:
        """What takes only free memory displaces nobody, and is the first to go: there is nothing to weigh.
        Where an environment has to climb for it, it may wait for that."""
        best: Decision | None = None
        most_bytes = 0
        for node in view.homes(function):
            *_, (step, need_bytes, _) = view.steps_up(function, node)
            left_bytes = view.room_bytes(node) - need_bytes
            if left_bytes >= most_bytes:
                until_s = now_s + view.horizon_s + view.waits_s(function)
                best, most_bytes = Raise(function, NodeId(node), step, -inf, until_s), left_bytes + 1
        return best

    def _look(self, view: PreloadView, function: FunctionId, now_s: float, next_s: float) -> Decision | None:
        """Memory that is free may be taken for what is needed before the next look, if it is worth holding
        for as long; that of others, which is held by somebody either way, for what is needed sooner."""
        if view.ready(function):
            return None
        waits_s, near_s = view.waits_s(function), view.horizon_s + view.load_s(function)
        spans_s = [near_s]
        while spans_s[-1] < next_s - now_s:
            spans_s.append(WIDER * spans_s[-1])
        chances = {near_s: view.needed(function, 0.0, near_s)}

        def chance(ahead_s: float) -> float:
            if ahead_s not in chances:
                chances[ahead_s] = view.needed(function, 0.0, ahead_s)
            return chances[ahead_s]

        byte_price, guest_bytes = view.byte_price, view.guest_bytes(function)
        best: Decision | None = None
        best_rank = (False, -inf)
        for node in view.homes(function):
            prices = view.cpu_price(node), byte_price, view.line_price(node)
            if _is_worth(chances[near_s], waits_s, guest_bytes, near_s, prices):
                for sandbox in view.sandboxes(node):
                    if sandbox.id is not None and sandbox.is_idle and sandbox.room_bytes >= guest_bytes:
                        return Guest(function, node, sandbox.id)
            for step, need_bytes, after_s in view.steps_up(function, node):
                spared_s = waits_s - after_s
                is_free = need_bytes <= view.room_bytes(node)
                for_s = spans_s if is_free else spans_s[: 1 + len(LATER)]
                asked = prices if is_free else (prices[0], 0.0, prices[2])
                if spared_s <= 0.0 or not any(
                    _is_worth(chance(each_s), spared_s, need_bytes, each_s, asked) for each_s in for_s
                ):
                    continue
                worth = log(max(needed_soon(chance, near_s), _LEAST) * spared_s / max(1, need_bytes))
                if is_free:
                    rank = True, worth + 1.0
                elif (True, worth) > best_rank:
                    rank = self._rank(view, node, need_bytes, worth)
                else:
                    continue
                if rank > best_rank:
                    best = Raise(function, NodeId(node), step, worth, now_s + view.horizon_s)
                    best_rank = rank
        return best

    def _rank(self, view: PreloadView, node: NodeId, need_bytes: int, worth: float) -> tuple[bool, float]:
        """Whether it can begin at once, and what it is worth a byte beyond what has to go for it, the
        larger the better: no more than `worth`."""
        displaced = view.displaced_s(node, need_bytes, worth) / max(1, need_bytes)
        if displaced >= exp(worth):
            return False, worth
        return True, log(exp(worth) - displaced)


def _is_worth(
    chance: float, spared_s: float, held_bytes: int, ahead_s: float, prices: tuple[float, float, float]
) -> bool:
    """Prices are of a second of climbing, of a byte held for a second, and of one that climbs for a second
    where others wait in line."""
    cpu_price, byte_price, line_price = prices
    price_s = cpu_price * spared_s + byte_price * held_bytes * ahead_s
    price_s += line_price * held_bytes * spared_s
    return chance * spared_s > price_s
