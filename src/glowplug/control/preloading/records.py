"""What is remembered of pre-loads: which are unused yet, and what became of the others."""

from __future__ import annotations

from math import expm1, inf
from typing import TYPE_CHECKING

import msgspec

from glowplug.control.preloading.usage import Usage
from glowplug.core.ids import FunctionId, InstanceId, NodeId
from glowplug.policy.preload import Raise

if TYPE_CHECKING:
    from glowplug.control.records import Instance

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 3600.0
_SAVED_S = 60.0
"""A node that loaded nothing ahead for so long has saved up all it can."""
_LINE_S = 60.0


class Held(msgspec.Struct):
    """What was loaded ahead, or is, and no request has used: since when, and how much it holds, with weights
    that were not there before."""

    node: NodeId
    since_s: float
    held_bytes: int
    expected_s: float
    """What its climb was thought to take."""


class Unused(Held):
    """An instance in which no request has run."""

    foreseen: bool = True
    """Whether a prediction asked for it. A pre-load that only filled free memory says nothing about
    predictions."""
    called: bool = False
    """Whether a request was bound to it while it climbed. It is used when it is up, if the request still
    waits."""


class Zygote(Held):
    """A function's zygote, from which no worker was forked that a request ran in."""

    climbs: bool = True


class Pause(msgspec.Struct):
    """Pauses the pre-loads of a function after some failed in a row. Its requests ignore this."""

    failures: int = 0
    until_s: float = 0.0


class Allowance(msgspec.Struct):
    """Seconds of climbing that a node may begin now; below 0 when climbs took more of a processor than was
    thought."""

    left_s: float
    at_s: float


class Line(msgspec.Struct):
    """How many requests waited for memory at a node lately, on average over the moments when somebody
    looked."""

    mean: float
    at_s: float


class Preloads(msgspec.Struct):
    """`wasted_byte_s` sums bytes x seconds of what ended unused; `started`, `used` and `wasted` count
    workers alone. `wanted` climbs wait for room."""

    unused: dict[InstanceId, Unused] = {}
    wanted: dict[FunctionId, Raise] = {}
    served_at: dict[FunctionId, NodeId] = {}
    """Where each function's last request was sent."""
    zygotes: dict[str, Zygote] = {}
    """By their holdings' keys."""
    paused: dict[FunctionId, Pause] = {}
    allowances: dict[NodeId, Allowance] = {}
    usage: dict[NodeId, Usage] = {}
    lines: dict[NodeId, Line] = {}
    held_back: int = 0
    """Climbs not begun because their node's share of a core or of memory was spent."""
    failed: int = 0
    started: int = 0
    used: int = 0
    """In which a request ran."""
    used_late: int = 0
    """Of those, by a request that came while they still climbed."""
    wasted: int = 0
    wasted_byte_s: float = 0.0
    seconds: float = 0.0
    """Of a processor, by climbs that have ended; of climbing, where the engine does not tell."""

    def may_spend(self, node: NodeId, expected_s: float, share: float, now_s: float) -> bool:
        """Whether a climb may begin there that is expected to take so long: over any time t a node begins at
        most `share` x (t + 60 s) of climbing, or one climb that is longer than that."""
        return self._left_s(node, share, now_s) >= min(expected_s, share * _SAVED_S)

    def share_left(self, node: NodeId, share: float, now_s: float) -> float:
        """As a share of the most that a node can save up: 1 if nothing was spent lately, or without a
        limit."""
        if share == inf:
            return 1.0
        return self._left_s(node, share, now_s) / (share * _SAVED_S)

    def _left_s(self, node: NodeId, share: float, now_s: float) -> float:
        most_s = share * _SAVED_S
        allowance = self.allowances.get(node)
        if allowance is None:
            allowance = self.allowances[node] = Allowance(most_s, now_s)
        allowance.left_s = min(most_s, allowance.left_s + share * max(0.0, now_s - allowance.at_s))
        allowance.at_s = now_s
        return allowance.left_s

    def seen_line(self, node: NodeId, now_s: float) -> float | None:
        """What `see_line` returned at this moment; None where nobody has looked yet."""
        line = self.lines.get(node)
        return line.mean if line is not None and line.at_s == now_s else None

    def see_line(self, node: NodeId, waiting: int, now_s: float) -> float:
        """`waiting` requests wait for memory there now. Returns how many did lately, on average over about a
        minute."""
        line = self.lines.get(node)
        if line is None:
            line = self.lines[node] = Line(float(waiting), now_s)
        line.mean -= expm1(-max(0.0, now_s - line.at_s) / _LINE_S) * (waiting - line.mean)
        line.at_s = now_s
        return line.mean

    def unused_bytes(self, node: NodeId) -> int:
        """Bytes of what was loaded ahead and nobody came for yet, including guests in sandboxes."""
        workers: list[Held] = [each for each in self.unused.values() if not each.called]
        return sum(each.held_bytes for each in (*workers, *self.zygotes.values()) if each.node == node)

    def unused_byte_s(self, now_s: float) -> float:
        """What `wasted_byte_s` would grow by if all that is unused ended now."""
        held: tuple[Held, ...] = (*self.unused.values(), *self.zygotes.values())
        return sum(each.held_bytes * (now_s - each.since_s) for each in held)

    def usage_at(self, node: NodeId) -> Usage:
        return self.usage.setdefault(node, Usage())

    def spend(self, node: NodeId, seconds: float) -> None:
        if node in self.allowances:
            self.allowances[node].left_s -= seconds

    def note_started(
        self, instance: Instance, held_bytes: int, now_s: float, expected_s: float, *, foreseen: bool = True
    ) -> None:
        self.started += 1
        instance.ahead = True
        self.unused[instance.id] = Unused(instance.node, now_s, held_bytes, expected_s, foreseen)
        self.spend(instance.node, expected_s)
        if foreseen:
            self.usage_at(instance.node).begin(now_s)

    def note_loaded(self, instance: Instance, took_s: float) -> None:
        """`took_s` of a processor: a climb that stands back takes far longer beside one that is busy. One
        that a request took over stays charged with what was expected."""
        record = self.unused.get(instance.id)
        if record is not None and not record.called:
            self.seconds += took_s
            self.spend(instance.node, took_s - record.expected_s)

    def note_staging(self, key: str, node: NodeId, held_bytes: int, now_s: float, expected_s: float) -> None:
        self.zygotes[key] = Zygote(node, now_s, held_bytes, expected_s)
        self.spend(node, expected_s)

    def note_staged(self, key: str, took_s: float) -> None:
        """`took_s` as in `note_loaded`. Nothing, if it did not climb ahead."""
        zygote = self.zygotes.get(key)
        if zygote is not None and zygote.climbs:
            zygote.climbs = False
            self.seconds += took_s
            self.spend(zygote.node, took_s - zygote.expected_s)

    def note_zygote_gone(self, key: str, now_s: float) -> None:
        zygote = self.zygotes.pop(key, None)
        if zygote is not None:
            self.wasted_byte_s += zygote.held_bytes * (now_s - zygote.since_s)

    def note_failed(self, function: FunctionId, now_s: float) -> None:
        """A climb ahead crashed, hung or took too much memory: the function is not loaded ahead for a while,
        the longer the more often that happened."""
        pause = self.paused.setdefault(function, Pause())
        pause.failures += 1
        pause.until_s = now_s + min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(pause.failures - 1, 10))
        self.failed += 1

    def paused_until(self, function: FunctionId) -> float:
        pause = self.paused.get(function)
        return 0.0 if pause is None else pause.until_s

    def forget(self, function: FunctionId) -> None:
        self.wanted.pop(function, None)
        self.served_at.pop(function, None)
        self.paused.pop(function, None)

    def forget_node(self, node: NodeId) -> list[FunctionId]:
        """It is gone, and nothing of it is unused any more. Returns whose climb waited for room there."""
        self.allowances.pop(node, None)
        self.usage.pop(node, None)
        self.lines.pop(node, None)
        self.served_at = {function: at for function, at in self.served_at.items() if at != node}
        waited = [function for function, climb in self.wanted.items() if climb.node == node]
        for function in waited:
            del self.wanted[function]
        return waited

    def note_called(self, instance: InstanceId) -> None:
        """A request was bound to it while it climbs. The prediction was right, if it comes."""
        record = self.unused[instance]
        if record.foreseen and not record.called:
            self.usage_at(record.node).end(used=True)
        record.called = True

    def note_used(self, instance: InstanceId, *, late: bool = False) -> bool:
        """A request runs in it. Whether it had been loaded ahead and was unused until now; `late` when the
        request came while it climbed."""
        record = self.unused.pop(instance, None)
        if record is None:
            return False
        self.used += 1
        self.used_late += late
        if record.foreseen and not record.called:
            self.usage_at(record.node).end(used=True)
        return True

    def note_unused(self, instance: Instance, now_s: float, *, in_vain: bool = False) -> None:
        """It ends, or is about to; `in_vain` when that is because nobody came for it, which speaks against
        predictions. That a deploy, an operator or a failure ends it does not, and if somebody had come for it
        that counts no more."""
        record = self.unused.pop(instance.id, None)
        if record is not None:
            self.wasted += 1
            if record.foreseen and record.called:
                self.usage_at(record.node).take_back()
            elif record.foreseen and in_vain:
                self.usage_at(record.node).end(used=False)
            self.wasted_byte_s += record.held_bytes * (now_s - record.since_s)
