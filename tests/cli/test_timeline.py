"""Pictures of phases: bars add up, and Perfetto's file has a slice for each phase."""

from __future__ import annotations

from itertools import pairwise

from glowplug.cli.timeline import perfetto, timeline
from glowplug.core.status import RequestTrace

PHASES = {"queue": 0.001, "fork": 0.008, "first_compute": 0.021, "reply": 0.0}


def test_a_bar_is_as_wide_as_its_share() -> None:
    text = timeline("cold", PHASES, full_s=0.060, width=60).plain
    assert text.count("█") == 30
    assert "fork 8 ms" in text
    assert "first_compute 21 ms" in text
    assert "reply" not in text


def test_perfetto_gets_a_track_per_function_and_slices_end_to_end() -> None:
    traces = [
        RequestTrace(7, "a.default", "", 10.0, 0.030, 200, "staged", PHASES, 3),
        RequestTrace(8, "b.default", "", 11.0, 0.030, 200, "staged", PHASES, 4),
    ]
    events = perfetto(traces)["traceEvents"]
    names = {e["args"]["name"]: e["tid"] for e in events if e["ph"] == "M"}
    assert names.keys() == {"a.default", "b.default"}
    slices = [e for e in events if e["ph"] == "X" and e["tid"] == names["a.default"]]
    assert slices[0]["name"] == "request 7"
    for before, after in pairwise(slices[1:]):
        assert after["ts"] == before["ts"] + before["dur"]
    assert sum(e["dur"] for e in slices[1:]) == slices[0]["dur"]
