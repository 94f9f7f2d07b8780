"""Two runs of one name: a worker of the earlier one that nobody could end still sends."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np

from glowplug.distributed import assignment
from glowplug.distributed.channels.memory import MemoryRoom
from glowplug.distributed.checkpoints import Checkpoint, Checkpoints, checkpoint_blobs
from glowplug.distributed.deploying import Deployed, deploy
from glowplug.distributed.network import Floats
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.start import Place, Start
from glowplug.distributed.work import work
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.serial import serial
from tests.distributed.nets import small_inputs
from tests.distributed.threads import ThreadLine

SAMPLES, WORKERS = 40, 3
NETWORK = ChallengeNetwork(1024, 3)


def one(deployed: Deployed, worker: int) -> None:
    start = Start(orders=str(deployed.path), place=Place("twice", worker), deadline_s=60.0)
    work(start, ThreadLine(), time.monotonic())


def test_its_messages_are_not_taken_for_those_of_the_later(tmp_path: Path) -> None:
    spread = assignment.replicas(NETWORK, SAMPLES, WORKERS)
    with MemoryRoom().open("twice", WORKERS) as room:

        def deployed(at_s: float, x: Floats) -> Deployed:
            folder = tmp_path / str(at_s)
            folder.mkdir()
            return deploy(NETWORK, x, spread, room.address, RunOptions(), folder, lambda: at_s)

        before = deployed(1_700_000_000.0, small_inputs(NETWORK.inputs, SAMPLES, seed=1))
        x = small_inputs(NETWORK.inputs, SAMPLES)
        after = deployed(1_700_000_001.0, x)
        for worker in range(1, WORKERS):
            one(before, worker)
        threads = [threading.Thread(target=one, args=(after, worker)) for worker in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert np.array_equal(after.output(), serial(NETWORK, x))


def test_its_checkpoints_are_not_read_by_the_later(tmp_path: Path) -> None:
    blobs = checkpoint_blobs(str(tmp_path))
    before, after = (Checkpoints(blobs, "twice", 1, 0, generation) for generation in (1, 2))
    before.write(5, Checkpoint(np.ones((3, 4), np.float32), b""))
    assert before.latest([5]) == 5
    assert after.latest([5], of_all_epochs=True) is None
    assert after.read(5, 3, 4) is None
