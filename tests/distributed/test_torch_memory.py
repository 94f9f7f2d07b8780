"""How many samples of a torch model are under way: as many as help, and as memory allows."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug.distributed.chains import module_bytes  # noqa: E402
from glowplug.distributed.channels.inbox import KEPT_BYTES  # noqa: E402
from glowplug.distributed.channels.memory import MemoryRoom  # noqa: E402
from glowplug.distributed.cutting import best_cut  # noqa: E402
from glowplug.distributed.errors import PartTooLarge  # noqa: E402
from glowplug.distributed.run_options import RunOptions  # noqa: E402
from glowplug.distributed.torch_deploying import TorchWay, deploy_torch, most_under_way  # noqa: E402
from glowplug.distributed.torch_orders import TorchOrders  # noqa: E402
from glowplug.distributed.torch_problem import RUNTIME_BYTES  # noqa: E402
from tests.distributed import stage_nets as nets  # noqa: E402

pytestmark = pytest.mark.torch
MIB = 2**20
_numbers = itertools.count()


@pytest.mark.parametrize(
    ("handed_bytes", "stages", "most"),
    [
        (1000, 2, 32),
        (1000, 20, 40),
        (4 * MIB, 2, 16),
        (20 * MIB, 2, 4),
        (20 * MIB, 8, 10),
        (100 * MIB, 8, 2),
        (300 * MIB, 2, 1),
    ],
)
def test_as_many_are_under_way_as_one_worker_can_keep(handed_bytes: int, stages: int, most: int) -> None:
    assert most_under_way(handed_bytes, stages) == most
    assert (most - 1) * handed_bytes < KEPT_BYTES


def deployed(folder: Path, handed_bytes: int, memory_bytes: int) -> TorchOrders:
    net: Any = nets.Transformer().eval()
    chain, starts = best_cut(net, lambda: net(*nets.tokens()), 2, 0)
    way = TorchWay(1, tuple(each._replace(hidden_bytes=handed_bytes) for each in chain), starts)
    options = RunOptions(memory_bytes=memory_bytes, counted="resident")
    with MemoryRoom().open(f"torch-memory-{next(_numbers)}", 2) as room:
        return deploy_torch(net, [nets.tokens()], 9, way, room.address, options, folder, folder).orders


@pytest.mark.parametrize(
    ("handed_bytes", "forgotten_every", "unlimited"), [(MIB // 2, 8, 32), (4 * MIB, 1, 16)]
)
def test_less_memory_has_fewer_under_way(
    tmp_path: Path, handed_bytes: int, forgotten_every: int, unlimited: int
) -> None:
    """Each holds what blocks hand on twice, and so do messages until they are forgotten."""
    least_bytes = RUNTIME_BYTES + module_bytes(nets.Transformer()) + (3 + forgotten_every) * handed_bytes
    for number, (memory_bytes, window) in enumerate(
        [(0, unlimited), (least_bytes + 12 * handed_bytes, 6), (least_bytes + 80 * handed_bytes, unlimited)]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        orders = deployed(folder, handed_bytes, memory_bytes)
        assert (orders.window, orders.forgotten_every) == (window, forgotten_every)
    folder = tmp_path / "least"
    folder.mkdir()
    with pytest.raises(PartTooLarge, match=r"worker \d needs \d+ bytes"):
        deployed(folder, handed_bytes, least_bytes + 3 * handed_bytes)
