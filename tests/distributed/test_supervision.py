"""Checkpoints, common lines and whom another process can take over for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glowplug.distributed import assignment
from glowplug.distributed.assignment import Share
from glowplug.distributed.channels.base import Address
from glowplug.distributed.channels.blobs import Blobs
from glowplug.distributed.checkpoints import Checkpoint, Checkpoints, checkpoint_blobs, remove_checkpoints
from glowplug.distributed.orders import FIRST, Orders
from glowplug.distributed.supervisor import common_lines, replaceable
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
