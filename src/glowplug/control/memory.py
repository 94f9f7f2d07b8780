"""Making room: eviction, and the lines of functions that wait for memory."""

from __future__ import annotations

from collections.abc import Collection
from math import inf

from glowplug.control import holdings, instances, lines, victims
from glowplug.control.context import Context
from glowplug.control.records import Function, Node
from glowplug.control.sizes import freed_bytes
from glowplug.core.ids import InstanceId

_PATIENCE_S = 5.0
"""Between two evictions by one function without a waiting request."""


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

    Functions with waiting requests (`urgent`) stand in one line per node (lines.py). The first keeps its
    place until its queue is served, through all climbs that this takes. Otherwise two that do not fit
    together would evict each other for ever. Functions without requests come after them, evict nothing
    that is pinned, and evict only once in a while. Holdings in `keep` are never victims; those in `spare`
    only if nothing else is enough. With a `limit` it is all or nothing.
    """
    if not node.starved or next(iter(node.starved)) == function.id:
        free_bytes = c.store.ledger.free_bytes(node.id)
        if need_bytes <= free_bytes:
            return True
        short_bytes = need_bytes - free_bytes - victims.coming_bytes(c, node)
        if short_bytes > 0 and urgent:
            if not victims.are_worth_waiting(c, node, function, short_bytes, keep, spare):
                _evict_at_once(c, node, need_bytes, short_bytes, keep, spare)
        elif short_bytes > 0:
            _evict_patiently(c, node, function, short_bytes, {*keep, *spare}, limit)
    if not urgent or (function.on_device and function.starved_at not in (None, node.id)):
        # Loads of one function wait at several nodes: going from line to line it would never come to rest.
        node.patient[function.id] = None
    else:
        lines.join(c, node, function)
    return False


def _evict_at_once(
    c: Context, node: Node, need_bytes: int, short_bytes: int, keep: Collection[str], spare: Collection[str]
) -> None:
    """Evicts what is on offer, then climbs that nobody waits for and what these stood on. `short_bytes` of
    `need_bytes` are missing."""

    def left_bytes() -> int:
        return need_bytes - c.store.ledger.free_bytes(node.id) - victims.coming_bytes(c, node)

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
        if need_bytes <= 0:
            break
        lent = instance.node == node.id and instance.slot == "climbing" and instance.host is None
        if lent and not instance.bound and instance.key not in keep:
            need_bytes -= freed_bytes(c, instance.key)
            instances.drain(c, instance, "evicted")
            found = True
    return found


def _evict_patiently(
    c: Context, node: Node, function: Function, need_bytes: int, keep: Collection[str], limit: float
) -> None:
    """Without a waiting request a function evicts only once in a while: otherwise two such functions would
    keep evicting each other."""
    if c.now_s < function.evicts_at_s:
        c.retry_by(function.id, function.evicts_at_s)
    elif evict(c, node, need_bytes, keep, min(limit, c.policies.eviction.pinned_from), whole=limit < inf):
        function.evicts_at_s = c.now_s + _PATIENCE_S


def evict(
    c: Context, node: Node, need_bytes: int, keep: Collection[str], limit: float = inf, *, whole: bool = False
) -> bool:
    """Sends the least worthy holdings down, as far as there are any; all or none if `whole`.

    False when nothing was sent.
    """
    chosen, doomed, enough = victims.chosen(c, node, need_bytes, keep, limit)
    if whole and not enough:
        return False
    node.doomed.update(dict.fromkeys(doomed))
    for key in chosen:
        c.policies.eviction.evicted(key)
        holding = c.store.holdings[key]
        if holding.target.kind == "instance":
            instances.drain(c, c.store.instances[InstanceId(int(holding.target.key))], "evicted")
        else:
            holdings.evict(c, holding)
    return bool(chosen)


def relieve(c: Context, node: Node) -> None:
    """The budget shrank, or something turned out bigger than reserved: evict until it fits again."""
    ledger = c.store.ledger
    excess_bytes = -ledger.free_bytes(node.id) - victims.coming_bytes(c, node)
    if excess_bytes > 0:
        evict(c, node, excess_bytes, ())
