"""What a worker gathers, or gets again, may come long before it waits for that."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from glowplug.distributed import assignment, work
from glowplug.distributed.assignment import Assignment
from glowplug.distributed.channels import registry
from glowplug.distributed.channels.memory import LIMITS
from glowplug.distributed.deploying import Deployed, deploy
from glowplug.distributed.errors import InboxFull
from glowplug.distributed.exchange import Exchange
from glowplug.distributed.faults import Faults
from glowplug.distributed.frame import Kind
from glowplug.distributed.orders import FIRST, ROOT
from glowplug.distributed.partition.baselines import block
from glowplug.distributed.partition.result import Settings
from glowplug.distributed.phases import Phases
from glowplug.distributed.platform_line import PlatformLine
from glowplug.distributed.post import InlinePost, Wire
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.start import Place, Start
from glowplug.distributed.timing import Timing
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.serial import serial
from tests.distributed.nets import small_inputs
from tests.distributed.pushed import PushedRoom
from tests.distributed.threads import ThreadLine, work_in_threads

STEP, GATHER, LARGE = 1, 9, b"x" * 5000
LAYERS, SAMPLES, WORKERS, EVERY = 14, 60, 3, 6
WAIT_S = 60.0
NETWORK = ChallengeNetwork(1024, LAYERS)
_numbers = itertools.count()


@pytest.mark.parametrize("expects", [True, False])
def test_logs_of_others_find_room_while_their_root_computes(expects: bool) -> None:
    with PushedRoom(1000).open("gathering", 3) as room:
        ends = [room.end(worker) for worker in range(3)]
        root = room.ends[0]
        exchange = Exchange(
            Place(room.run, 0), {STEP: (1,), GATHER: (1, 2)}, {}, limit_bytes=LIMITS.max_message_bytes
        )
        wire = Wire(root, exchange, Timing(1.0, 0.0, 1e9), tells=False)
        if expects:
            wire.expect(GATHER, GATHER + 1)
        post = InlinePost(wire, lambda step, source, payload: bytes(payload.body), Phases())
        for worker in (1, 2):
            targets = {STEP: (0,), GATHER: (0,)}
            sender = Exchange(Place(room.run, worker), {}, targets, limit_bytes=LIMITS.max_message_bytes)
            if worker == 1:
                ends[worker].send(sender.send(STEP, 0, Kind.BYTES, b"small"))
            ends[worker].send(sender.send(GATHER, 0, Kind.BYTES, LARGE))
        if not expects:
            with pytest.raises(InboxFull):
                root.push()
            return
        root.push()
        assert post.wait(STEP) == {1: b"small"}
        assert post.wait(GATHER) == {1: LARGE, 2: LARGE}


Work = Callable[[Start, PlatformLine, float], None]


def worked(
    room: PushedRoom, spread: Assignment, works: Work, folder: Path, kept_bytes: Callable[[Deployed], float]
) -> bool:
    """Whether workers in threads answer as one does, with room for so much."""
    x = small_inputs(1024, SAMPLES)
    options = RunOptions(checkpoint_layers=EVERY, deadline_s=WAIT_S)
    with room.open(f"pushed-{next(_numbers)}", spread.workers):
        deployed = deploy(NETWORK, x, spread, room.address, options, folder)
        room.kept_bytes = int(kept_bytes(deployed))
        lines = [ThreadLine() for _ in range(spread.workers)]
        work_in_threads(works, deployed.path, room.run, lines, options)
    return np.array_equal(deployed.output(), serial(NETWORK, x))


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> PushedRoom:
    """What workers of this process join."""
    made = PushedRoom(0)
    monkeypatch.setitem(registry.ROOMS, "memory", lambda **_: made)
    return made


def test_replicas_may_be_done_before_their_root_waits_for_anything(
    room: PushedRoom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Semaphore(0)

    def works(start: Start, line: PlatformLine, began_s: float) -> None:
        work.work(start, line, began_s)
        done.release()

    def before(faults: Faults, place: Place, step: int) -> None:
        if (place.worker, step) == (ROOT, FIRST):
            for _ in range(WORKERS - 1):
                assert done.acquire(timeout=WAIT_S)
            room.ends[ROOT].push()

    monkeypatch.setattr(work, "end_here", before)
    replicas = assignment.replicas(NETWORK, SAMPLES, WORKERS)
    assert worked(room, replicas, works, tmp_path, lambda _: 10)


@pytest.mark.parametrize("relayed", [False, True])
def test_who_takes_over_has_room_for_all_since_its_line(
    room: PushedRoom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relayed: bool
) -> None:
    """It is lost just before the next line; there is room for a layer or two."""

    class Lost(Exception):
        pass

    def before(faults: Faults, place: Place, step: int) -> None:
        if (place.worker, place.incarnation, step) == (1, 0, FIRST + 2 * EVERY - 1):
            raise Lost

    def works(start: Start, line: PlatformLine, began_s: float) -> None:
        try:
            work.work(start, line, began_s)
        except Lost:
            following = replace(start, place=replace(start.place, incarnation=1))
            work.work(following, line, time.monotonic())

    monkeypatch.setattr(work, "end_here", before)
    monkeypatch.setattr("glowplug.policy.plans.relay.PAIRS_A_WORKER", 1)
    rows = replace(assignment.rows(SAMPLES, block(NETWORK, Settings(WORKERS))), relayed=relayed)

    def two_layers(deployed: Deployed) -> float:
        return 2 * 4 * SAMPLES * max(deployed.rows_sent[0]) / WORKERS

    assert worked(room, rows, works, tmp_path, two_layers)
