"""What `glowplug doctor` says of a machine that does not answer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from glowplug.cli import doctor


def test_a_machine_that_takes_too_long_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_EXAMINE", "import time; time.sleep(1000)")
    monkeypatch.setattr(doctor, "_EXAMINE_S", 0.01)
    (found,) = doctor._isolation()
    assert (found.name, found.state) == ("isolation", "bad")
    assert "0.01 s" in found.found


def test_one_that_breaks_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_EXAMINE", "raise OSError('no such namespace')")
    (found,) = doctor._isolation()
    assert (found.state, found.found) == ("bad", "OSError: no such namespace")


def test_the_table_is_whole_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "_EXAMINE_S", 0.0)
    with pytest.raises(SystemExit) as ended:
        doctor.doctor(json=True)
    assert ended.value.code == 1
    assert '"isolation"' in capsys.readouterr().out


def test_a_folder_where_nobody_may_look_is_a_finding(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o000)
    root = os.geteuid() == 0
    if root:
        os.setresuid(65534, 65534, 0)
    try:
        found = doctor._disk(closed / "state"), doctor._homes(closed / "state")
    finally:
        if root:
            os.setresuid(0, 0, 0)
    assert [each.state for each in found] == ["bad", "ok"]
    assert "cannot be written" in found[0].found
