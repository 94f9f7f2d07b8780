"""`glowplug replay --live`: a workload on a server of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from glowplug.bench.systems.processes import descendants
from glowplug.cli.replay import replay
from tests.e2e.conftest import WAIT_S, all_gone, found_in, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


def test_recorded_calls_are_made_on_a_real_server(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOWPLUG_TOKEN", "of-another-server")
    calls = tmp_path / "calls.csv"
    calls.write_text("time_s,function\n0.0,a\n0.1,b\n0.2,a\n0.3,a\n8.0,c\n")
    replay(f"events:{calls}", policy="ladder", memory="1GB", live=True, json=True)
    out = capfd.readouterr().out
    found = msgspec.json.decode(out[out.index("{") :])
    (row,) = found["policies"]
    assert (found["simulated"], row["policy"], row["failed"]) == (False, "ladder", 0)
    assert row["loaded_ahead"] >= 1, "c, which nobody had called yet, is loaded ahead as when simulated"
    assert 0.0 < row["wait_p50_s"] <= row["wait_p99_s"]
    assert 0 < row["held_mean_bytes"] <= found["node_bytes"]
    by_step = row["functions_mean_by_step"]
    assert sum(by_step.values()) == pytest.approx(3.0)
    assert by_step["parked"] + by_step["busy"] > 0.0
    assert row["held_mean_bytes_by_step"]["parked"] > 0


def test_whoever_ends_the_command_has_nothing_left_behind(folder: Path) -> None:
    (folder / "calls.csv").write_text("time_s,function\n0.0,a\n3600.0,a\n")
    command = [sys.executable, "-m", "glowplug", "replay", f"events:{folder}/calls.csv"]
    command += ["--policy", "ladder", "--memory", "1GB", "--live"]
    with subprocess.Popen(
        command, env={**os.environ, "TMPDIR": str(folder)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        until(lambda: found_in(folder, "glowplug-replay-*/state/journal"), "its server is up")
        below = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    until(lambda: all_gone(below), "its server is gone")
    assert not found_in(folder, "glowplug-replay-*")
