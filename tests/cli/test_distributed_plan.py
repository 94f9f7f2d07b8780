from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glowplug.cli.distributed_models import inputs_of, network_of
from glowplug.cli.distributed_plan import plan
from glowplug.core.errors import InvalidArguments, InvalidDeclaration
from glowplug.distributed.errors import NotAStack
from glowplug.policy.plans.chooser import NothingFits

pytest.importorskip("numba", reason="pip install 'glowplug[distributed]'")
pytest.importorskip("mtkahypar", reason="pip install 'glowplug[distributed]'")
MODEL = "sparse:1024x6"


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(model: str = MODEL, **options: Any) -> dict[str, Any]:
        plan(model, json=True, cache=tmp_path, **{"samples": 300, "workers": (1, 2), **options})
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return run


def test_the_front_the_choice_and_why_others_lost(printed: Callable[..., dict[str, Any]]) -> None:
    found = printed()
    assert found["chosen"]["usd"] == min(each["usd"] for each in found["front"])
    seen = {each["plan"] for each in found["front"]} | {each["name"].split()[0] for each in found["lost"]}
    assert seen == {"serial", "replicas", "pipeline", "rows"}
    assert all(each["why"] for each in found["lost"])


def test_only_what_was_asked_for_is_tried(printed: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    found = printed(plans=("serial", "pipeline"), channels=("queue",), objective="fastest")
    dashed = printed(plans=("serial", "pipeline"), channels=("shared-memory",))
    assert {each["channel"] for each in dashed["front"]} == {"shared_memory"}
    tried = {(each["plan"], each["channel"]) for each in found["front"]}
    assert tried <= {("serial", "queue"), ("pipeline", "queue")}
    assert not list(tmp_path.iterdir())  # no rows were cut


def test_people_see_a_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plan(MODEL, samples=300, workers=(1, 2), cache=tmp_path, deadline="1m")
    shown = " ".join(capsys.readouterr().out.split())
    assert "what nothing beats" in shown
    assert "why others lost" in shown
    assert "delays as stated (hop-100ms), prices of" in shown


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ({"model": "dense:1024"}, InvalidArguments, "no model"),
        ({"channels": ("carrier-pigeon",)}, InvalidArguments, "--channels carrier-pigeon: there are queue"),
        ({"plans": ("magic",)}, InvalidArguments, "--plans magic: there are serial"),
        ({"workers": (0, 2)}, InvalidArguments, "each is at least 1"),
        ({"samples": 0}, InvalidArguments, "at least one"),
        ({"slowdown": 0}, InvalidArguments, "above 0"),
        ({"deadline": "soon"}, InvalidDeclaration, "not a duration"),
        ({"plans": ("serial",), "workers": (4,)}, NothingFits, "serial has one worker"),
        ({"memory_per_worker": "1MB"}, NothingFits, "serial needs .* limit is 1.0 MB"),
    ],
)
def test_what_makes_no_sense_is_said(
    printed: Callable[..., dict[str, Any]], options: dict[str, Any], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        printed(**{"plans": ("serial", "replicas"), **options})


TORCH = """import torch
from torch import nn

def build():
    block = lambda: nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256))
    return nn.Sequential(*(block() for _ in range(6)))

def example():
    return torch.ones(4, 256)

def wrong():
    return torch.ones(3, 3)
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    pytest.importorskip("torch", reason="pip install 'glowplug[torch]'")
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "planned_net.py").write_text(TORCH)
    return tmp_path / "net" / "planned_net.py"


@pytest.mark.torch
def test_a_torch_model_is_cut_along_its_chain(printed: Callable[..., dict[str, Any]], net: Path) -> None:
    found = printed(f"{net}:build", samples=32)
    ways = {each["plan"] for each in found["front"]} | {each["name"].split()[0] for each in found["lost"]}
    assert {"serial", "replicas", "pipeline"} <= ways
    tight = printed(f"{net}:build", samples=32, memory_per_worker="278MB", plans=("serial", "pipeline"))
    assert (tight["chosen"]["plan"], tight["chosen"]["workers"]) == ("pipeline", 2)


SPARSE = """import torch
from torch import nn
from torch.nn.utils import prune

def build():
    torch.manual_seed(0)
    layers = [nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU6(), nn.Dropout(), nn.Linear(64, 10)]
    for layer in layers[:4:2]:
        prune.random_unstructured(layer, "weight", 0.9)
    return nn.Sequential(nn.Flatten(), *layers)

def gelu():
    return nn.Sequential(build(), nn.GELU())

def example():
    return torch.arange(10 * 96.0).reshape(10, 1, 8, 12) / 960

def several():
    return [example()[:4], example()[4:5]]

def fewer():
    return torch.ones(2, 95)

def none():
    return []

class Moody(nn.Sequential):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * 2 if self.calls > 1 else super().forward(x)

def other():
    return Moody(build())
"""


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    pytest.importorskip("torch", reason="pip install 'glowplug[torch]'")
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack" / "planned_stack.py").write_text(SPARSE)
    return tmp_path / "stack" / "planned_stack.py"


@pytest.mark.torch
def test_a_sparse_stack_is_planned_as_a_network_is(
    printed: Callable[..., dict[str, Any]], stack: Path, tmp_path: Path
) -> None:
    found = printed(f"{stack}:build", samples=32)
    ways = {each["plan"] for each in found["front"]} | {each["name"].split()[0] for each in found["lost"]}
    assert ways == {"serial", "replicas", "pipeline", "rows"}
    assert len(list(tmp_path.glob("partition-*.npz"))) == 1


@pytest.mark.torch
def test_a_stack_is_run_on_its_examples_in_turn(stack: Path) -> None:
    network = network_of(f"{stack}:build")
    assert (network.layers, network.inputs, network.rows(2)) == (3, 96, 10)
    x = inputs_of(network, 23)
    assert x.shape == (96, 23)
    assert x[5, 3] == np.float32((3 * 96 + 5) / 960)
    assert np.array_equal(x[:, 10:20], x[:, :10])
    assert np.array_equal(x[:, 20:], x[:, :3])
    several = inputs_of(network_of(f"{stack}:build", "several"), 6)
    assert np.array_equal(several, x[:, [0, 1, 2, 3, 4, 0]])


@pytest.mark.torch
def test_rows_of_what_is_no_stack_are_refused_with_the_layer(stack: Path) -> None:
    with pytest.raises(NotAStack, match=r"layer 1 \(GELU\) is none of Linear"):
        plan(f"{stack}:gelu", plans=("rows",))
    with pytest.raises(NotAStack, match="answers something else than its layers alone would"):
        network_of(f"{stack}:other")
    with pytest.raises(InvalidDeclaration, match="cannot run on what fewer"):
        plan(f"{stack}:build", example="fewer")
    with pytest.raises(InvalidDeclaration, match=r"none\(\) returns no sample"):
        plan(f"{stack}:build", example="none")


@pytest.mark.torch
def test_a_torch_model_that_cannot_be_planned_says_why(net: Path) -> None:
    with pytest.raises(InvalidDeclaration, match="cannot run on what wrong"):
        plan(f"{net}:build", example="wrong")
    with pytest.raises(InvalidDeclaration, match="no callable 'other'"):
        plan(f"{net}:other")
    with pytest.raises(InvalidDeclaration, match="returns Tensor, and no"):
        plan(f"{net}:example")
    with pytest.raises(NotAStack, match="it is dense; other plans than rows"):
        network_of(f"{net}:build")
