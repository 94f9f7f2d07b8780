from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glowplug.cli.distributed_plan import plan
from glowplug.core.errors import InvalidArguments, InvalidDeclaration
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
        ({"memory_per_worker": "1MB"}, NothingFits, "serial needs .* limit is 1.0 MB"),
    ],
)
def test_what_makes_no_sense_is_said(
    printed: Callable[..., dict[str, Any]], options: dict[str, Any], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        printed(**{"plans": ("serial", "replicas"), **options})
