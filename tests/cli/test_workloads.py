"""`glowplug workload`, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glowplug.cli.workloads import workload
from glowplug.core.errors import InvalidWorkload


def test_a_workload_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    workload("timers:functions=3,rate_per_min=3,minutes=60,jitter_s=0", json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["functions"] == 3
    assert found["requests"] == 180
    assert found["gap_s"]["p50"] == pytest.approx(60)
    assert found["classes"] == {"predictable": 3, "normal": 0, "bursty": 0, "unknown": 0}
    assert found["triggers"] == {"timer": 3}


def test_people_get_lines(capsys: pytest.CaptureFixture[str]) -> None:
    workload("zipf:seed=1")
    assert "functions by variation" in capsys.readouterr().out
    workload()
    assert "burst_share" in capsys.readouterr().out


def test_the_list_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    workload(json=True)
    assert json.loads(capsys.readouterr().out)["zipf"]["s"]["default"] == 0.9


def test_a_workload_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="needs the plots extra: pip install 'glowplug[plots]'")
    workload("bursty:functions=20", plot=tmp_path / "p" / "w.svg")
    assert b"</svg>" in (tmp_path / "p" / "w.svg").read_bytes()


def test_what_there_is_not_is_refused() -> None:
    with pytest.raises(InvalidWorkload, match="no workload is called"):
        workload("zapf")
