"""Which control group a child begins in, and whether it has to be moved."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from glowplug.bundle.store import BundleStore
from glowplug.core.commands import Target
from glowplug.core.ids import NodeId
from glowplug.core.settings import NodeSettings
from glowplug.node import wire
from glowplug.node.births import Births
from glowplug.node.isolation.cgroups import Group
from glowplug.node.isolation.means import Means
from glowplug.node.isolation.seats import Seat, Seats
from glowplug.node.messages import Fork
from glowplug.node.processes import Process
from glowplug.node.roster import Held


def ignore(*_: Any) -> None:
    pass


@pytest.mark.parametrize("was_moved", [False, True])
def test_a_zygote_that_is_moved_while_it_forks_may_leave_its_child_behind(
    was_moved: bool, tmp_path: Path
) -> None:
    """The kernel moves who is there at that moment: what counts is where it was when it was asked to."""

    async def scenario() -> None:
        means, callbacks = Means(), (ignore, ignore, ignore)
        settings = NodeSettings(str(tmp_path / "state"), str(tmp_path / "run"))
        seats = Seats(means, tmp_path, settings.budget_bytes, ignore)
        births = Births(settings, BundleStore(tmp_path / "state"), means, seats, callbacks)
        ours, theirs = wire.socket_pair()
        zygote = Process("zygote", ours, *callbacks)
        seat = Seat("version 1", "environment", 0, None, tmp_path)
        seat.group = Group({"memory": tmp_path}, unified=True)
        parent = Held(Target("version", NodeId("n"), "1"), zygote, None, 0.0, seat, moved=was_moved)
        instance = Target("instance", NodeId("n"), "1")
        child = births.forked(parent, Fork("worker", "f", "1"), seat, tmp_path, instance, None, ())
        parent.moved = True
        moves: list[tuple[Any, ...]] = []
        births.born(child, lambda *call: moves.append(call))
        assert [call[1:] for call in moves] == ([] if was_moved else [(child, seat.group)])
        theirs.close()
        zygote.never_born("the test is over")

    asyncio.run(scenario())
