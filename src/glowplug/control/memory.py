"""Making room: eviction, and the lines of functions that wait for memory."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from math import inf

from glowplug.control import holdings, instances, lines, offers
from glowplug.control.context import Context
from glowplug.control.records import Function, Node
from glowplug.control.sizes import freed_bytes
from glowplug.control.worth import score_now
from glowplug.core.ids import InstanceId

_PATIENCE_S = 5.0
"""Between two evictions by one function for what no request waits for."""


def acquire(
    c: Context,
    node: Node,
    function: Function,
    need_bytes: int,
    *,
    urgent: bool,
    keep: Collection[str] = (),
    spare: Collection[str] = (),
    limit: float = inf,
) -> bool:
    """Whether `need_bytes` can be reserved at `node` now. If not, victims descend and the function waits.

    Requests wait (`urgent`) in one line per node (lines.py). Its first keeps its place until its queue is
    served, all that it climbs on the way included: two that do not fit together would else evict each other
    for ever. The rest waits behind them, takes nothing that is pinned, and evicts only once in a while.
    Holdings in `keep` are never victims; those in `spare` only when there is no other way. Under a `limit`
    it is all or nothing.
    """
    if not node.starved or next(iter(node.starved)) == function.id:
        free_bytes = c.store.ledger.free_bytes(node.id)
        if need_bytes <= free_bytes:
            return True
        short_bytes = need_bytes - free_bytes - _coming_bytes(c, node)
        if short_bytes > 0 and urgent:
            _evict_at_once(c, node, need_bytes, short_bytes, keep, spare)
        elif short_bytes > 0:
            _evict_patiently(c, node, function, short_bytes, {*keep, *spare}, limit)
    if not urgent:
        node.patient[function.id] = None
    else:
        lines.join(c, node, function)
    return False


def _evict_at_once(
    c: Context, node: Node, need_bytes: int, short_bytes: int, keep: Collection[str], spare: Collection[str]
) -> None:
    """What is on offer, then climbs that nobody waits for, and what these stood on; for `short_bytes` of
    `need_bytes` there is no room."""

    def left_bytes() -> int:
        return need_bytes - c.store.ledger.free_bytes(node.id) - _coming_bytes(c, node)

    both = {*keep, *spare}
    if not evict(c, node, short_bytes, both) and spare:
        evict(c, node, short_bytes, keep)
    if not c.store.preloads.unused:
        return
    short_bytes = left_bytes()
    if short_bytes > 0 and _give_up_ahead(c, node, short_bytes, both) and left_bytes() > 0:
        evict(c, node, left_bytes(), both)


def _give_up_ahead(c: Context, node: Node, need_bytes: int, keep: Collection[str]) -> bool:
    """Ends climbs of what is loaded ahead, the last begun first: while they climb they are not on offer, and
    memory that is only lent is to be had at once. False when there is none."""
    found = False
    for number in reversed(list(c.store.preloads.unused)):
        instance = c.store.instances[number]
        lent = instance.node == node.id and instance.slot == "climbing" and instance.host is None
        if need_bytes > 0 and lent and not instance.bound and instance.key not in keep:
            need_bytes -= freed_bytes(c, instance.key)
            instances.drain(c, instance, "evicted")
            found = True
    return found


def _evict_patiently(
    c: Context, node: Node, function: Function, need_bytes: int, keep: Collection[str], limit: float
) -> None:
    """What no request waits for must not keep evicting what others, as patient, bring back."""
    if c.now_s < function.evicts_at_s:
        if f"retry:{function.id}" not in c.store.timers:
            c.set_timer(f"retry:{function.id}", function.evicts_at_s)
    elif evict(c, node, need_bytes, keep, min(limit, c.policies.eviction.pinned_from), whole=limit < inf):
        function.evicts_at_s = c.now_s + _PATIENCE_S


def evict(
    c: Context, node: Node, need_bytes: int, keep: Collection[str], limit: float = inf, *, whole: bool = False
) -> bool:
    """Sends the least worthy holdings down, as far as there are any; all or none if `whole`.

    False when nothing was sent.
    """
    offers.settle(c)
    victims = c.policies.eviction.victims(node.id, need_bytes, keep, limit, partial(score_now, c))
    doomed: list[str] = []
    freed = 0
    for key in victims:
        freed += freed_bytes(c, key)
    if freed < need_bytes:
        enough = False
        if c.policies.eviction.by_value:
            victims, doomed, enough = _with_below(c, victims, need_bytes, keep, limit)
        if whole and not enough:
            return False
    node.doomed.update(dict.fromkeys(doomed))
    for key in victims:
        c.policies.eviction.evicted(key)
        holding = c.store.holdings[key]
        if holding.target.kind == "instance":
            instances.drain(c, c.store.instances[InstanceId(int(holding.target.key))], "evicted")
        else:
            holdings.evict(c, holding)
    return bool(victims)


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


def _coming_bytes(c: Context, node: Node) -> int:
    """What leaves, and what goes after that."""
    ledger = c.store.ledger
    leaving_bytes = ledger.leaving[node.id]
    return leaving_bytes + sum(map(ledger.held_bytes, node.doomed)) if node.doomed else leaving_bytes


def relieve(c: Context, node: Node) -> None:
    """The budget shrank, or something turned out bigger than reserved: evict until it fits again."""
    ledger = c.store.ledger
    excess_bytes = -ledger.free_bytes(node.id) - _coming_bytes(c, node)
    if excess_bytes > 0:
        evict(c, node, excess_bytes, ())
