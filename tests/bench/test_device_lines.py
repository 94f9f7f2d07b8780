from __future__ import annotations

import pytest

from glowplug.bench.pictures.device_lines import draw_contents, height_inches, lanes_of
from glowplug.core.ids import DeviceId, FunctionId
from glowplug.sim.timeline import Interval


def lies(function: str, start_s: float, end_s: float, device: str = "n0/gpu0") -> Interval:
    return Interval("lies", DeviceId(device), FunctionId(f"{function}.default"), start_s, end_s)


STAYS = [lies("a", 0, 10), lies("b", 2, 60), lies("c", 10, 10.5), lies("d", 11, 60, "n0/gpu1")]


def test_what_lies_there_at_the_same_time_has_lanes_of_its_own() -> None:
    found = lanes_of(STAYS, ["n0/gpu0", "n0/gpu1", "n0/gpu2"])
    assert [(each.function[0], lane) for each, lane in found["n0/gpu0"]] == [("a", 0), ("b", 1), ("c", 0)]
    assert [lane for _, lane in found["n0/gpu1"]] == [0]
    assert found["n0/gpu2"] == []
    many = lanes_of([lies(f"f{n}", 0, 60) for n in range(50)], ["n0/gpu0"])
    assert height_inches(many) > 2 * height_inches(found)


def test_names_stand_where_there_is_room_and_can_be_read() -> None:
    figures = pytest.importorskip("matplotlib.figure", reason="pip install 'glowplug[plots]'")
    axis = figures.Figure(figsize=(8, 3)).subplots()
    draw_contents(axis, lanes_of(STAYS, ["n0/gpu0", "n0/gpu1"]), 60.0, 8.0)
    assert sorted(text.get_text() for text in axis.texts) == ["a", "b", "d"]
    assert all(text.get_fontsize() >= 6 for text in axis.texts)
    assert axis.get_xlim() == (0.0, 60.0)
