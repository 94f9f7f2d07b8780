"""Who has to go where memory is short, and what that costs those who would have found it there."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from math import exp, inf

from glowplug.control import offers
from glowplug.control.bindings import is_unused
from glowplug.control.capacity import OVERDUE_SHARE
from glowplug.control.context import Context
from glowplug.control.records import Function, Node
from glowplug.control.sizes import freed_bytes
from glowplug.control.worth import score_now
from glowplug.core.ids import InstanceId

_LEAST_WAIT_S = 0.01
"""For a run that is about to end: it may be overdue, and runs of a millisecond end every moment."""


def chosen(
    c: Context, node: Node, need_bytes: int, keep: Collection[str], limit: float
) -> tuple[list[str], list[str], bool]:
    """Who would go for so many bytes, what below them would go with them, and whether that is enough."""
    offers.settle(c)
    victims = c.policies.eviction.victims(node.id, need_bytes, keep, limit, partial(score_now, c))
    freed = 0
    for key in victims:
        freed += freed_bytes(c, key)
    if freed >= need_bytes:
        return victims, [], True
    if c.policies.eviction.by_value:
        return _with_below(c, victims, need_bytes, keep, limit)
    return victims, [], False


def _with_below(
    c: Context, victims: list[str], need_bytes: int, keep: Collection[str], limit: float
) -> tuple[list[str], list[str], bool]:
    """Of victims that are too small, the least worthy first: as many as free enough together with what
    nothing stands on once they are gone and is worth less than `limit`; that; and whether it is enough.

    Environments are others' too, and never counted.
    """
    store, freed = c.store, 0
    gone: dict[str, int] = {}
    doomed: list[str] = []
    for count, victim in enumerate(victims, 1):
        freed += freed_bytes(c, victim)
        needs = list(store.holdings[victim].needs)
        while needs and freed < need_bytes:
            key = needs.pop()
            gone[key] = gone.get(key, 0) + 1
            holding = store.holdings.get(key)
            if holding is None or holding.phase != "up" or holding.target.kind == "environment":
                continue
            if gone[key] < store.dependents[key] or key in keep:
                continue
            if holding.target.kind != "part":  # those go with their head, which counts them
                if limit < inf and score_now(c, key) >= limit:
                    continue
                freed += store.ledger.held_bytes(key)
                doomed.append(key)
            needs += holding.needs
        if freed >= need_bytes:
            return victims[:count], doomed, True
    return victims, doomed, False


def evictable_bytes(c: Context, node: Node) -> int:
    """What would be free if all went that nobody uses, with what only that stands on; environments stay."""
    store, idle = c.store, []
    needed: set[str] = set()
    for key in node.keys:
        holding = store.holdings[key]
        kind, name = holding.target.kind, holding.target.key
        may_go = kind in ("weights", "version") or (
            kind == "instance" and is_unused(store.instances[InstanceId(int(name))])
        )
        if holding.phase == "up" and may_go:
            idle.append(key)
        elif holding.phase != "descending":
            needed.update(holding.needs)
    return sum(store.ledger.held_bytes(key) for key in idle if key not in needed)


def displaced_s(c: Context, node: Node, need_bytes: int, limit: float = inf) -> float:
    """Seconds of waiting that is spared soon by what would have to go for so many bytes: nothing where the
    eviction policy cannot tell (not `timely`). Infinite when they are not to be had for less than `limit`.

    Worked out once until something changes (Context.reweigh): where memory is scarce hundreds of functions
    ask in one event, whose models are of a few sizes."""
    short_bytes = need_bytes - c.store.ledger.free_bytes(node.id) - coming_bytes(c, node)
    if short_bytes <= 0:
        return 0.0
    limit = min(limit, c.policies.eviction.pinned_from)
    offers.settle(c)
    known = c.displaced_s.get((node.id, short_bytes, limit))
    if known is None:
        known = work_out_displaced_s(c, node, short_bytes, limit)
        c.displaced_s[node.id, short_bytes, limit] = known
    return known


def work_out_displaced_s(c: Context, node: Node, short_bytes: int, limit: float) -> float:
    victims, doomed, enough = chosen(c, node, short_bytes, (), limit)
    if not enough:
        return inf
    if not c.policies.eviction.timely:
        return 0.0
    return _spared_s(c, (*victims, *doomed))


def are_worth_waiting(
    c: Context, node: Node, function: Function, need_bytes: int, keep: Collection[str], spare: Collection[str]
) -> bool:
    """Whether to wait for workers that are about to end their runs, as what would have to go now is worth
    more: where many calls come at the same moment what is idle then waits for its own. In all nobody waits
    longer for that than it is worth."""
    if not c.policies.eviction.timely or not function.queue:
        return False
    left_s = _free_in_s(c, node, need_bytes)
    victims, doomed, _ = chosen(c, node, need_bytes, {*keep, *spare}, c.policies.eviction.pinned_from)
    if _waits_s(c, function, left_s) >= _spared_s(c, (*victims, *doomed)):
        return False
    c.retry_by(function.id, c.now_s + max(left_s, _LEAST_WAIT_S))
    return True


def waits_s(c: Context, node: Node, function: Function, need_bytes: int) -> float:
    """Seconds that a function's requests will have waited, all together, when workers that are about to end
    their runs at a node have freed so many bytes there."""
    short_bytes = need_bytes - c.store.ledger.free_bytes(node.id) - coming_bytes(c, node)
    return _waits_s(c, function, _free_in_s(c, node, short_bytes) if short_bytes > 0 else 0.0)


def _waits_s(c: Context, function: Function, left_s: float) -> float:
    if not function.queue:
        return 0.0
    waited_s = c.now_s - c.store.requests[function.queue.head()].arrived_s
    return (waited_s + left_s) * len(function.queue)


def _spared_s(c: Context, keys: Collection[str]) -> float:
    """A policy that is `timely` scores by the logarithm of seconds that a byte spares soon."""
    return sum(exp(score_now(c, key)) * freed_bytes(c, key) for key in keys)


def _free_in_s(c: Context, node: Node, need_bytes: int) -> float:
    """By when workers that run a last request there will have freed so many bytes, if they were let go then;
    infinite when they hold less. What is overdue, or nearly, is expected to take a share of its time more."""
    ends: list[tuple[float, int]] = []
    for key in node.keys:
        if key.startswith("instance/"):
            instance = c.store.instances[InstanceId(int(key.rpartition("/")[2]))]
            if instance.slot == "busy" and c.store.holdings[key].phase == "up":
                run_s = c.policies.costs.expect_s(instance.version, "run") * len(instance.bound)
                left_s = max(instance.busy_since_s + run_s - c.now_s, run_s * OVERDUE_SHARE)
                ends.append((left_s, freed_bytes(c, key)))
    for left_s, held_bytes in sorted(ends):
        need_bytes -= held_bytes
        if need_bytes <= 0:
            return left_s
    return inf


def coming_bytes(c: Context, node: Node) -> int:
    """What leaves, and what goes after that."""
    ledger = c.store.ledger
    leaving_bytes = ledger.leaving[node.id]
    return leaving_bytes + sum(map(ledger.held_bytes, node.doomed)) if node.doomed else leaving_bytes
