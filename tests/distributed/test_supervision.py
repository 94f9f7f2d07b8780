"""Checkpoints, common lines, whom another process can take over for, and what is heard too late."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glowplug.distributed import assignment
from glowplug.distributed.assignment import Share
from glowplug.distributed.channels.base import Address
from glowplug.distributed.channels.blobs import Blobs
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.checkpoints import Checkpoint, Checkpoints, checkpoint_blobs, remove_checkpoints
from glowplug.distributed.deploying import Deployed
from glowplug.distributed.orders import FIRST, Orders
from glowplug.distributed.phases import Phases
from glowplug.distributed.platform import Ended, Event
from glowplug.distributed.platform_line import Response
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.start import Place, Start
from glowplug.distributed.supervisor import Supervisor
from glowplug.distributed.tasks import common_lines, network_task, replaceable
from glowplug.distributed.workload.challenge import ChallengeNetwork

NETWORK = ChallengeNetwork(1024, 10)
HELD = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return checkpoint_blobs(str(tmp_path / "checkpoints"))


def orders(shares: tuple[Share, ...], workers: int, lines: tuple[int, ...]) -> Orders:
    return Orders(
        address=Address("memory", "run", workers, {}), layers=10, samples=4, outputs=1024, shares=shares,
        finals=((0,),), inputs="", parts="", checkpoints="", result="", lines=lines,
    )  # fmt: skip


def write(blobs: Blobs, worker: int, line: int, epoch: int = 0) -> None:
    Checkpoints(blobs, "run", worker, epoch).write(line, Checkpoint(HELD, b"results"))


def test_a_checkpoint_comes_back(blobs: Blobs) -> None:
    checkpoints = Checkpoints(blobs, "run", 0, 0)
    checkpoints.write(5, Checkpoint(HELD, b"results"))
    found = checkpoints.read(5, 3, 4)
    assert found is not None
    assert np.array_equal(found.held, HELD)
    assert found.results == b"results"
    assert checkpoints.read(6, 3, 4) is None
    remove_checkpoints(blobs, "run")
    assert checkpoints.read(5, 3, 4) is None


def test_a_damaged_checkpoint_is_none(blobs: Blobs, tmp_path: Path) -> None:
    write(blobs, 0, 5)
    (path,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert Checkpoints(blobs, "run", 0, 0).read(5, 3, 4) is None


def test_an_epoch_goes_on_from_its_own(blobs: Blobs) -> None:
    write(blobs, 0, 5, epoch=0)
    write(blobs, 0, 8, epoch=0)
    later = Checkpoints(blobs, "run", 0, 1)
    assert later.latest([5, 8]) is None
    assert later.latest([5, 8], of_all_epochs=True) == 8
    assert later.read(5, 3, 4) is not None
    write(blobs, 0, 5, epoch=1)
    assert later.latest([5, 8]) == 5


def test_all_who_exchange_rows_go_back_to_the_same_line(blobs: Blobs) -> None:
    """Two groups: one has come to its second line, of the other one worker only to its first."""
    near, far = (FIRST + 3, FIRST + 6), (FIRST + 13, FIRST + 16)
    shares = (Share(0, 2, 0, (0, 1)), Share(2, 4, 0, (2, 3)))
    for worker, lines in ((0, near), (1, near), (2, far), (3, far[:1])):
        for line in lines:
            write(blobs, worker, line)
    found = common_lines(orders(shares, 4, near + far), blobs, 1)
    assert found == {0: near[1], 1: near[1], 2: far[0], 3: far[0]}


def test_another_can_take_over_for_who_checkpoints_or_needs_nobody() -> None:
    rows = (Share(0, 4, 0, (0, 1)),)
    assert replaceable(orders(rows, 2, (FIRST + 5,))) == {0, 1}
    assert replaceable(orders(rows, 2, ())) == set()
    alone = assignment.replicas(NETWORK, 4, 3).shares
    assert replaceable(orders(alone, 3, ())) == {1, 2}, "the root needs what the others found"


class Told:
    """A platform on which this happens, a list at a time."""

    def __init__(self, *events: list[Event]) -> None:
        self.meter = Meter()
        self.begun: list[Place] = []
        self._events = list(events)

    def begin(self, start: Start) -> None:
        self.begun.append(start.place)

    def events(self, timeout_s: float) -> list[Event]:
        return self._events.pop(0)

    def end_all(self) -> list[Event]:
        return []

    def close(self) -> None:
        """Nothing is left."""


def answered(worker: int, epoch: int) -> Event:
    place = Place("run", worker, epoch)
    return place, Response(place, Phases().times(), 0.0, Meter(), 0, 0, 0, 0)


def test_what_a_worker_did_in_an_epoch_before_is_not_its_response() -> None:
    """Both may be heard at once: that one is gone, for which all go back, and that another was done."""
    spread = orders((Share(0, 4, 0, (0, 1, 2)),), 3, ())
    gone: Event = (Place("run", 1), Ended("was killed", 1.0, 0))
    platform = Told([gone, answered(2, 0)], [answered(0, 1)], [answered(1, 1)], [answered(2, 1)])
    task = network_task(Deployed(spread, Path("orders.json"), ()), None)
    supervisor = Supervisor(platform, task, RunOptions(), lambda worker, step: None)
    supervisor.supervise()
    assert platform.begun == [Place("run", worker, epoch) for epoch in (0, 1) for worker in range(3)]
    assert {each.place.epoch for each in supervisor.responses.values()} == {1}
    assert len(supervisor.responses) == 3
