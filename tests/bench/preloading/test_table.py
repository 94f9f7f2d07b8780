"""The published table beside ours, of rows whose answer is known."""

from __future__ import annotations

from typing import Any

import pytest

from glowplug.bench.preloading.devices import DEVICES, DeviceCell, run_device_cell
from glowplug.bench.preloading.table import beside_published, by_definition, claims


def row(system: str, preload: str, loading_s: float, **given: Any) -> dict[str, Any]:
    return {
        "part": "table",
        "system": system,
        "trace_class": "predictable",
        "preload": preload,
        "mean_s": loading_s + 0.2,
        "loading_mean_s": loading_s,
        "preload_rate": 0.0,
        "late_share": 0.0,
        "kept_share": 0.0,
        "unkept_rate": 0.0,
        **given,
    }


ROWS = [
    row("openwhisk", "none", 2.0),
    row("openwhisk, kept loaded", "none", 0.04, kept_share=0.98),
    row("pagurus", "none", 1.6),
    row("tyche + pagurus", "tyche", 0.4, preload_rate=0.5, late_share=0.1, kept_share=0.2, unkept_rate=0.625),
]


def test_a_line_has_both_figures_of_a_cell_and_none_where_the_paper_gives_none() -> None:
    lines = {line["system"]: line for line in beside_published(ROWS)}
    assert lines["openwhisk"]["published_loading_s"] == 2.879
    assert lines["openwhisk"]["loading_mean_s"] == 2.0
    assert lines["openwhisk"]["published_rate"] is None
    assert "openwhisk, kept loaded" not in lines


def test_a_rate_is_shown_by_each_way_to_count_it() -> None:
    (line,) = by_definition(ROWS)
    assert line["of_all"] == 0.5
    assert line["of_all_in_time"] == pytest.approx(0.4)
    assert line["found_loaded"] == pytest.approx(0.6)
    assert line["of_what_is_not_kept"] == 0.625
    assert line["spared"] == pytest.approx(0.75)
    assert line["published_spared"] == pytest.approx(1 - 0.186 / 2.203)


def test_the_announced_share_holds_against_who_keeps_nothing_or_against_both() -> None:
    reloading, keeping = claims(ROWS)
    assert (reloading.value, reloading.holds) == (pytest.approx(0.8), False)
    assert keeping.value < 0


def test_on_devices_each_request_finds_its_model_somewhere() -> None:
    cell = DeviceCell(
        "finish-first", "value-per-byte", 4, "zipf:functions=60,rate_per_min=60,minutes=5", 60, 1
    )
    found = run_device_cell(cell)
    assert (found["devices"], found["nodes"], found["failed"]) == (DEVICES, 4, 0)
    assert 0 < found["on_device_share"] < 1
    assert found["from_disk_share"] > 0
    assert found["loading_mean_s"] > 0
