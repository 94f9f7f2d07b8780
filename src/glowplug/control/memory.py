"""Making room: eviction, and the lines of functions that wait for memory."""

from __future__ import annotations

from collections.abc import Collection
from math import inf

from glowplug.control import answers, holdings, instances
from glowplug.control.context import Context
from glowplug.control.records import Function, Node
from glowplug.core.ids import InstanceId
from glowplug.core.ladder import Step


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

    Requests wait (`urgent`) in one line per node, first come first served; the rest waits behind them.
    Holdings in `keep` are never victims; those in `spare` only when there is no other way.
    """
    first = not node.starved or c.favoured == function.id or next(iter(node.starved)) == function.id
    if first:
        free_bytes = c.store.ledger.free_bytes(node.id)
        if need_bytes <= free_bytes:
            if urgent:
                answers.leave_line(c, function)
            return True
        short_bytes = need_bytes - free_bytes - c.store.ledger.leaving[node.id]
        if short_bytes > 0 and not evict(c, node, short_bytes, {*keep, *spare}, limit) and spare:
            evict(c, node, short_bytes, keep, limit)
    if urgent:
        if function.starved_at != node.id:
            answers.leave_line(c, function)
        function.starved_at = node.id
        node.starved[function.id] = None
    else:
        node.patient[function.id] = None
    return False


def evict(c: Context, node: Node, need_bytes: int, keep: Collection[str], limit: float = inf) -> bool:
    """Sends the least worthy holdings down; False when they would not be enough."""
    victims = c.policies.eviction.victims(node.id, need_bytes, keep, limit)
    for key in victims:
        holding = c.store.holdings[key]
        if holding.target.kind == "instance":
            instances.drain(c, c.store.instances[InstanceId(int(holding.target.key))], "evicted")
        else:
            below = Step.IMPORTED if holding.target.kind == "version" else Step.LOCAL
            holdings.descend(c, holding, below, "evicted")
    return bool(victims)


def relieve(c: Context, node: Node) -> None:
    """The budget shrank, or something turned out bigger than reserved: evict until it fits again."""
    ledger = c.store.ledger
    excess_bytes = -ledger.free_bytes(node.id) - ledger.leaving[node.id]
    if excess_bytes > 0:
        reachable_bytes = min(excess_bytes, c.policies.eviction.offered(node.id))
        if reachable_bytes > 0:
            evict(c, node, reachable_bytes, ())
