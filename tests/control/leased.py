"""Workers that are lent, and what is sent to them."""

from __future__ import annotations

from glowplug.control.learning import learn_run
from glowplug.core.commands import Dispatch, Lease
from glowplug.core.ids import FunctionId, VersionId
from tests.control.world import World, spec

F = FunctionId("f.default")
SHORT_S, MIDDLE_S, LONG_S = 0.0001, 0.01, 0.2


def warm(took_s: float, gateways: int = 1, **declared: object) -> World:
    """One worker is up, lent, and known to take that long for a request."""
    world = World(gateways=gateways)
    world.deploy(spec(**declared))
    for _ in range(20):
        request = world.ask()
        world.engine.answer_all()
        world.gateway.finish(request, took_s=took_s)
        world.gateway.report()
    return world


def takes(world: World, run_s: float) -> None:
    context = world.state.context
    learn_run(context, context.store.versions[VersionId("f-v1")], run_s)


def last_lease(world: World) -> Lease:
    return next(c for c in reversed(world.commands) if isinstance(c, Lease))


def dispatched(world: World) -> list[Dispatch]:
    return [c for c in world.commands if isinstance(c, Dispatch)]


def finish_in_order(world: World, took_s: float, count: int = 1000) -> None:
    """As a worker does: first come, first served."""
    for _ in range(count):
        if not world.gateway.running:
            return
        world.gateway.finish(next(iter(world.gateway.running)), took_s=took_s)
