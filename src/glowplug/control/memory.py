"""Making room: eviction, and the lines of functions that wait for memory."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from math import inf

from glowplug.control import holdings, instances, lines
from glowplug.control.context import Context
from glowplug.control.estimates import freed_bytes, score_now
from glowplug.control.records import Function, Node
from glowplug.core.ids import InstanceId
from glowplug.core.ladder import Step

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
        short_bytes = need_bytes - free_bytes - _coming_bytes(c, node, keep)
        if short_bytes > 0 and urgent:
            if not evict(c, node, short_bytes, {*keep, *spare}) and spare:
                evict(c, node, short_bytes, keep)
        elif short_bytes > 0:
            _evict_patiently(c, node, function, short_bytes, {*keep, *spare}, limit)
    if not urgent:
        node.patient[function.id] = None
    else:
        lines.join(c, node, function)
    return False


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
    victims = c.policies.eviction.victims(node.id, need_bytes, keep, limit, partial(score_now, c))
    if sum(freed_bytes(c, key) for key in victims) < need_bytes:
        if whole:
            return False
        victims = _with_below(c, victims, need_bytes, keep)
    for key in victims:
        c.policies.eviction.evicted(key)
        holding = c.store.holdings[key]
        if holding.target.kind == "instance":
            instances.drain(c, c.store.instances[InstanceId(int(holding.target.key))], "evicted")
        else:
            below = Step.IMPORTED if holding.target.kind == "version" else Step.LOCAL
            holdings.descend(c, holding, below, "evicted")
    return bool(victims)


def _with_below(c: Context, victims: list[str], need_bytes: int, keep: Collection[str]) -> list[str]:
    """Of victims that are too small, the least worthy first: as many as free enough together with what
    nothing stands on once they are gone, which is on offer then. All when that is not enough either."""
    below, freed = _Below(c, keep), 0
    for count, victim in enumerate(victims, 1):
        freed += freed_bytes(c, victim) + below.left_by(victim)
        if freed >= need_bytes:
            return victims[:count]
    return victims


def _coming_bytes(c: Context, node: Node, keep: Collection[str]) -> int:
    """What leaves, and what nothing stands on once that is gone: the next to be evicted."""
    below = _Below(c, keep)
    return c.store.ledger.leaving[node.id] + sum(below.left_by(key) for key in node.descending)


class _Below:
    """What is left over when those that stand on it go, one after the other. Environments are others' too,
    and never counted."""

    def __init__(self, c: Context, keep: Collection[str]) -> None:
        self._c = c
        self._keep = keep
        self._gone: dict[str, int] = {}

    def left_by(self, key: str) -> int:
        """Bytes of what stands under nothing any more now that `key` goes."""
        store, found = self._c.store, 0
        needs = list(store.holdings[key].needs)
        while needs:
            need = needs.pop()
            self._gone[need] = self._gone.get(need, 0) + 1
            holding = store.holdings.get(need)
            if holding is None or holding.target.kind == "environment" or holding.phase == "descending":
                continue
            if need not in self._keep and self._gone[need] == store.dependents.get(need):
                # A gang's parts go with its head, which counts them.
                found += store.ledger.held_bytes(need) if holding.target.kind != "part" else 0
                needs += holding.needs
        return found


def relieve(c: Context, node: Node) -> None:
    """The budget shrank, or something turned out bigger than reserved: evict until it fits again."""
    ledger = c.store.ledger
    excess_bytes = -ledger.free_bytes(node.id) - _coming_bytes(c, node, ())
    if excess_bytes > 0:
        evict(c, node, excess_bytes, ())
