"""Sets in a pack: the same bytes in every process, and the same sets again."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.loader import skeleton
from glowplug.loader.sets import in_order
from tests.depth import examples

pytestmark = pytest.mark.torch

SCRIPT = """
import hashlib, torch
from glowplug.loader import skeleton
from tests.loader.test_sets import sets
for name, obj in sets().items():
    print(name, hashlib.sha256(skeleton.dump(obj)[0]).hexdigest())
"""


def sets() -> dict[str, Any]:
    words = ["alpha", "beta", "gamma", "delta", "eps"]
    return {
        "set": set(words),
        "frozenset": frozenset(words),
        "tuples": {(word, n) for n, word in enumerate(words)},
        "mixed": {1, 2.5, None, b"x", *words},
        "inside": {"key": [frozenset(words), (frozenset(words), 1)]},
        "frozensets": {frozenset(words[n:]) for n in range(4)},
        "classes": {torch.nn.Linear, torch.nn.Conv2d, int, str, len, torch.float16, torch.int8},
    }


def again(obj: object) -> Any:
    graph, table = skeleton.dump(obj)
    return skeleton.load(graph, table.tensors, "net.pack")


def test_hashes_of_the_process_are_not_in_the_bytes() -> None:
    found = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True,
            cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout.splitlines()
        for seed in ("1", "2", "3")
    ]  # fmt: skip
    assert len(found[0]) == len(sets())
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("name", sets())
def test_sets_come_back(name: str) -> None:
    obj = sets()[name]
    loaded = again([obj, obj])
    assert loaded[0] == obj
    assert type(loaded[0]) is type(obj)
    assert loaded[0] is loaded[1]


ATOMS = st.text(max_size=3) | st.integers() | st.booleans() | st.none() | st.binary(max_size=3)
ITEMS = st.recursive(ATOMS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4))


@settings(max_examples=examples(200), deadline=None)
@given(items=st.sets(ITEMS, max_size=8), shuffle=st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_that_of_the_set(items: set[Any], shuffle: Any) -> None:
    other = list(items)
    shuffle.shuffle(other)
    assert in_order(other) == in_order(items)
    assert again({"frozen": frozenset(items), "plain": items}) == {
        "frozen": frozenset(items), "plain": items
    }  # fmt: skip


class Node:
    def __init__(self) -> None:
        self.parts: set[Node] = {self}
        self.parts.add(Node.__new__(Node))


def test_sets_of_other_things_travel_too() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    found = again({"weights": {parameter, torch.nn.Parameter(torch.zeros(3))}, "node": Node()})
    assert sorted(each.numel() for each in found["weights"]) == [2, 3]
    assert found["node"] in found["node"].parts
    assert len(found["node"].parts) == 2
