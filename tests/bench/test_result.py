from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from glowplug.bench.answers import difference
from glowplug.bench.calibration import experiment
from glowplug.bench.pictures.timeline import Line, timeline, with_rest
from glowplug.bench.registry import describe, run
from glowplug.bench.result import (
    Claim,
    Result,
    claim,
    print_claims,
    print_rows,
    read_result,
    show_value,
    spread,
)


def test_equal_answers_do_not_differ() -> None:
    answer = [{"label": "palace", "probability": 0.7}, {"label": "monastery", "probability": 0.1}]
    assert difference(answer, [dict(each) for each in answer]) == 0.0


def test_numbers_differ_by_their_share_of_the_largest() -> None:
    assert difference([1.0, 4.1], [1.0, 4.0]) == (4.1 - 4.0) / 4.0


def test_other_words_or_shapes_are_infinitely_far() -> None:
    assert difference([{"label": "a", "p": 1}], [{"label": "b", "p": 1}]) == float("inf")
    assert difference([1.0], [1.0, 2.0]) == float("inf")
    assert difference([[1.0], 2.0], [1.0, [2.0]]) == float("inf")


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_a_median_lies_between_its_ends(values: list[float]) -> None:
    found = spread("latency_s", values)
    assert found["latency_s_min"] <= found["latency_s"] <= found["latency_s_max"]


def test_claims_hold_at_their_target() -> None:
    assert claim("a", 3.0, "at most", 3.0).holds
    assert claim("a", 3.0, "at least", 3.0).holds
    assert not claim("a", 3.1, "at most", 3.0).holds


def test_values_are_shown_in_their_unit() -> None:
    assert [show_value("a_s", 0.04), show_value("a_bytes", 2e6), show_value("a", None)] == [
        "40 ms",
        "2.0 MB",
        "-",
    ]
    assert show_value("a_s", -0.04) == "-40 ms"


def test_a_result_is_written_read_and_shown(tmp_path: Path) -> None:
    row = {"system": "ours", **spread("latency_s", [0.1, 0.2, 0.3]), "equal": True}
    result = Result(
        "coldstart", {"repeats": 3}, [row], [claim("x_s", 0.1, "at most", 0.2)], ["peers: not installed"]
    )
    result.write(tmp_path / "results" / "coldstart.json")
    assert read_result(tmp_path / "results" / "coldstart.json") == result
    console = Console(record=True, width=120)
    print_rows(console, "rows", result.rows, ("system", "latency_s", "equal"))
    print_claims(console, result)
    shown = console.export_text()
    assert "200 ms (100 ms .. 300 ms)" in shown
    assert "peers: not installed" in shown


def test_what_no_phase_explains_is_the_rest() -> None:
    assert with_rest(Line("x", 1.0, {"compute": 0.5, "fork": 0.25, "unknown": 1.0})) == {
        "fork": 0.25,
        "compute": 0.5,
        "rest": 0.25,
    }


def test_a_timeline_names_the_phases_that_matter() -> None:
    console = Console(record=True, width=120)
    console.print(
        timeline([Line("naive", 2.0, {"import": 1.9}), Line("ours", 0.05, {"fork": 0.01, "compute": 0.04})])
    )
    shown = console.export_text()
    assert "import 1.9 s" in shown
    assert "compute 40 ms" in shown


def test_an_experiment_that_ran_ends_well_whatever_its_claims_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Claim("too hard", 2.0, "at most", 1.0, holds=False)
    monkeypatch.setattr(experiment, "_claims", lambda rows: [broken])
    out = tmp_path / "calibration.json"
    assert run("calibration", quick=True, json=out) == 0
    assert read_result(out).claims == [broken]


def test_experiments_are_described_and_an_unknown_one_is_refused() -> None:
    assert describe()["coldstart"].startswith("`coldstart`: from request to answer")
    assert run("nothing") == 2
