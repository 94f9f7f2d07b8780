"""Which functions may be loaded ahead now."""

from __future__ import annotations

from glowplug.control.context import Context
from glowplug.control.records import Function, Version
from glowplug.control.wants import most_workers
from glowplug.core.ids import FunctionId
from glowplug.core.ladder import Step


def found(c: Context, number: FunctionId) -> tuple[Function, Version] | None:
    """The function and its active version, unless it declares `never`, was sent down by an operator, has
    as many workers as it may have, or pauses because a climb of it failed.
    """
    function = c.store.functions.get(number)
    if function is None or function.gone or function.active is None:
        return None
    version = c.store.versions[function.active]
    if version.spec.declaration.preload == "never" or version.on_device:
        return None
    if c.now_s < max(function.retry_at_s, c.store.preloads.paused_until(number)):
        return None
    held_at = function.goal if function.goal is not None else function.hold
    if held_at is not None and held_at < Step.PARKED:
        return None
    return (function, version) if version.live < most_workers(c, function, version) else None
