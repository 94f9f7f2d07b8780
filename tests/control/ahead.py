"""Worlds whose functions are called at regular times, or loaded whether anybody calls or not."""

from __future__ import annotations

from typing import Any

import msgspec

from glowplug.core.commands import Climb
from glowplug.core.settings import ControlSettings
from tests.control.world import SETTINGS, World, spec

PERIOD_S = 10.0
LARGE: dict[str, Any] = {"memory_bytes": 700, "keep_warm_s": 1000.0}


def settings(preload: str, **changed: Any) -> ControlSettings:
    given = {"preload": preload, "substrate": "process", "lends": False, **changed}
    return msgspec.structs.replace(SETTINGS, **given)


def ladder(**changed: Any) -> ControlSettings:
    return settings("ladder", substrate="zygote", eviction="ladder", **changed)


def serve(world: World, name: str) -> None:
    request = world.ask(name)
    world.answer(request)
    world.gateway.report()


def call_regularly(world: World, name: str, calls: int = 4) -> None:
    """Each finds nothing: what it left goes right after it."""
    for _ in range(calls):
        serve(world, name)
        world.engine.answer_all()
        world.advance(PERIOD_S)


def climbs(world: World, name: str) -> list[Climb]:
    return [c for c in world.commands if isinstance(c, Climb) and c.target.kind == "instance"
            and c.spec.declaration.name == name]  # fmt: skip


def preloading_world(**changed: Any) -> World:
    """One function that is always to be there, and no memory in use but its."""
    world = World(settings("none", substrate="zygote", **changed), budget_bytes=1700)
    world.deploy(spec("ahead", preload="always"))
    return world
