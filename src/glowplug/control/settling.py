"""After an event: what it marked is followed up, until nothing is marked (context.py has the marks)."""

from __future__ import annotations

from itertools import islice
from typing import TypeVar

from glowplug.control import builds, memory, offers, placement, victims
from glowplug.control.context import Context
from glowplug.control.fleet import schedule
from glowplug.control.preloading import drive
from glowplug.control.pump import pump
from glowplug.control.records import Function, Node
from glowplug.control.resting import rest
from glowplug.core.ids import FunctionId

Mark = TypeVar("Mark")
_TRIES = 32
"""Of functions without requests that wait for memory, when some became free."""


def settle(c: Context) -> None:
    """Follows up on what the event changed, until nothing is marked."""
    c.reweigh()
    while True:
        pumped = bool(c.dirty)
        while c.dirty:
            pump(c, _take(c.dirty))
        if c.fleet_check:
            # Before memory is given to others: what has just come to a device may be about to be used.
            c.fleet_check = False
            schedule.run(c)
        elif c.unoffered:
            offers.settle(c)
        elif c.freed:
            node = c.store.nodes.get(_take(c.freed))
            if node is not None:
                _feed(c, node)
                c.build_check = c.build_check or bool(c.store.build_queue)
        elif c.build_check:
            c.build_check = False
            builds.start(c)
        elif c.invoked:
            used = c.store.instances.get(_take(c.invoked))
            if used is not None:
                drive.invoked(c, used)
        elif c.idled:
            idle = c.store.instances.get(_take(c.idled))
            if idle is not None and idle.slot in ("idle", "busy"):
                rest(c, idle)
        elif (pumped or c.preload_check) and c.policies.preload.foresees:
            c.preload_check = False
            drive.run(c)
        else:
            return


def _feed(c: Context, node: Node) -> None:
    """Memory became free: those who wait for it try again, in order, until one must wait on; where nobody
    does, those who wait elsewhere. Of those whom no request waits for each tries once where more is free than
    there was, for one that does not fit keeps no smaller one from it, and else one; who must wait on goes to
    the end."""
    memory.relieve(c, node)
    while node.starved:
        head = next(iter(node.starved))
        pump(c, head)
        if next(iter(node.starved), None) == head:
            return
    if c.store.lines:
        _offer_to_others(c, node)
        if node.starved:
            return
    free_bytes = c.store.ledger.free_bytes(node.id)
    for head in list(islice(node.patient, _TRIES if free_bytes > node.fed_bytes else 1)):
        if head in node.patient:
            del node.patient[head]
            pump(c, head)
            if node.starved or victims.coming_bytes(c, node) > 0:
                break
    node.fed_bytes = c.store.ledger.free_bytes(node.id)


def _offer_to_others(c: Context, node: Node) -> None:
    """Nobody waits here: so heads of other nodes' lines may begin here, the highest class first, and in a
    class who has waited the longest."""
    asked: set[FunctionId] = set()
    while not node.starved:
        first = [next(iter(c.store.nodes[number].starved)) for number in c.store.lines]
        heads = [c.store.functions[number] for number in first if number not in asked]
        room_bytes = placement.room_bytes(c, node.id, idle=True)
        able = [function for function in heads if placement.may_begin(c, function, node.id, room_bytes)]
        if not able:
            return
        head = min(able, key=lambda function: (-function.line_rank, _since(c, function)))
        asked.add(head.id)
        pump(c, head.id)


def _since(c: Context, function: Function) -> float:
    """When the first of its requests came."""
    return c.store.requests[function.queue.head()].arrived_s if function.queue else 0.0


def _take(marks: dict[Mark, None]) -> Mark:
    """Removes and returns the oldest mark."""
    first = next(iter(marks))
    del marks[first]
    return first
