"""What a zygote leaves its children, and what it does not."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from glowplug import loader
from glowplug.node.roles import in_child, prepare_to_fork
from glowplug.node.zygote import reseed

TENSORS, TENSOR_BYTES = 64, 2**16


def mapped_bytes(of: str) -> int:
    """Rss of this process's mappings of the file `of`."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            inside = line.endswith(of)
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


@pytest.mark.torch
def test_generators_begin_anew_and_objects_do_not() -> None:
    torch = pytest.importorskip("torch", reason="needs the torch extra")
    own = random.Random(1)

    def drawn() -> list[float]:
        return [random.random(), float(np.random.rand()), float(torch.rand(1)), own.random()]

    def seeded(then: Callable[[], object]) -> list[float]:
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        own.seed(1)
        then()
        return drawn()

    same, anew = [
        [one == other for one, other in zip(seeded(then), seeded(then), strict=True)]
        for then in (lambda: None, reseed)
    ]
    assert same == [True] * 4
    assert anew == [False] * 3 + [True]


@pytest.mark.torch
def test_weights_that_a_zygote_has_read_are_not_in_its_childrens_page_tables(tmp_path: Path) -> None:
    """A copied entry costs its first use more than a page fault for sixteen of them (decision 002)."""
    torch = pytest.importorskip("torch", reason="needs the torch extra")
    # In small pieces: what the page cache has in huge pages, no fork copies.
    content = [torch.arange(TENSOR_BYTES // 8) for _ in range(TENSORS)]
    loader.write_pack(tmp_path / "a.pack", content)
    with loader.open_pack(tmp_path / "a.pack") as pack:
        tensors = pack.load()
        try:
            used = sum(int(tensor.numpy().sum()) for tensor in tensors)  # type: ignore[attr-defined]
            assert prepare_to_fork() >= 1
            assert mapped_bytes("a.pack") >= TENSORS * TENSOR_BYTES
            assert in_child(lambda: (mapped_bytes("a.pack"), 0)) == (0, 0)
            assert used == TENSORS * sum(range(TENSOR_BYTES // 8))
        finally:
            gc.unfreeze()
