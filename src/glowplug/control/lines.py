"""The line of functions that wait for memory at a node: higher classes first, first come in each.

A function that was overtaken often enough (core.priority.PASSED_OVER) is not overtaken again.
"""

from __future__ import annotations

from glowplug.control.context import Context
from glowplug.control.records import Function, Node
from glowplug.core.ids import FunctionId
from glowplug.core.priority import PASSED_OVER


def join(c: Context, node: Node, function: Function) -> None:
    """Puts a function with requests into the line, or moves it forward when a request of a higher class
    waits now."""
    rank = rank_of(c, function)
    if function.starved_at == node.id and function.line_rank >= rank:
        return
    was_before = function.starved_at == node.id
    if function.starved_at is not None and not was_before:
        leave(c, function)
    function.starved_at, function.line_rank = node.id, rank
    behind: list[FunctionId] = []
    for number in reversed(node.starved):
        if number == function.id:
            was_before = False
            continue
        if not was_before:
            other = c.store.functions[number]
            if other.line_rank >= rank or other.overtaken >= PASSED_OVER[other.line_rank]:
                break
            other.overtaken += 1
        behind.append(number)
    node.starved.pop(function.id, None)
    node.starved[function.id] = None
    c.store.lines[node.id] = None
    for number in reversed(behind):
        del node.starved[number]
        node.starved[number] = None


def rank_of(c: Context, function: Function) -> int:
    """The highest class in its queue; the function's own if all its requests stand in lines of devices."""
    if function.queue.length or function.active is None:
        return function.queue.rank
    return c.store.versions[function.active].spec.rank if function.lined else 0


def leave(c: Context, function: Function) -> None:
    """The function no longer waits for memory. Those behind it may try."""
    if function.starved_at is not None:
        node = c.store.nodes.get(function.starved_at)
        if node is not None:
            node.starved.pop(function.id, None)
            if not node.starved:
                c.store.lines.pop(node.id, None)
            c.freed[node.id] = None
        function.starved_at = None
        function.line_rank = function.overtaken = 0
