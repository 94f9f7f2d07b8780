"""Names that an experiment does not have are refused before it begins."""

from __future__ import annotations

import subprocess
import sys

import pytest

from glowplug.bench.loading.models import MODELS, zoo
from glowplug.bench.registry import run


@pytest.mark.parametrize(
    ("experiment", "setting", "said"),
    [
        ("card", "parts=x", "no parts x; it has contexts, loads, served"),
        ("card", "models=resnet18", "no models resnet18; it has resnet50"),
        ("coldstart", "models=nothing", "no models nothing; it has"),
        ("coldstart", "steps=parked,remote", "no steps remote; it has local"),
        ("distributed", "parts=x", "no parts x; it has formula"),
        ("endurance", "parts=x", "no parts x; it has longtail"),
        ("gateway", "workloads=x", "no workloads x; it has echo"),
        ("loading", "models=resnet18", "no models resnet18; it has resnet50"),
        ("loading", "shown=resnet18", "no shown resnet18; it has resnet50"),
        ("loading", "swept=magic", "no swept magic; it has traditional"),
        ("preloading", "parts=x", "no parts x; it has table"),
        ("scheduling", "parts=x", "no parts x; it has reproduction"),
    ],
)
def test_a_name_that_there_is_not(
    experiment: str, setting: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(experiment, settings=[setting]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert f"{experiment} has {said}" in told


def test_the_models_are_those_of_the_zoo() -> None:
    pytest.importorskip("torch")
    assert set(MODELS) == set(zoo())


def test_the_command_shows_no_traceback() -> None:
    words = [sys.executable, "-m", "glowplug", "bench", "preloading", "--set", "parts=x"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
