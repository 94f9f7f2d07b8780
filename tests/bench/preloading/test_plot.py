from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glowplug.bench.preloading.experiment import PARTS
from glowplug.bench.preloading.plot import draw, panels

pytest.importorskip("matplotlib", reason="pip install 'glowplug[plots]'")

SHARES = (0.1, 0.25)


def row(part: str, system: str, share: float = 0.1, **fields: Any) -> dict[str, Any]:
    return {
        "part": part, "system": system, "substrate": "process", "memory_share": share, "nodes": 4,
        "trace": "mix", "trace_class": "all", "loading_mean_s": 0.5, "simulated": True, **fields,
    }  # fmt: skip


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """The figures that were saved."""
    from matplotlib.figure import Figure

    saved: list[Any] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: saved.append(figure))
    return saved


@pytest.mark.parametrize("part", [part for part in PARTS if part != "lent"])
def test_every_part_with_a_loading_latency_is_drawn(part: str, drawn: list[Any], tmp_path: Path) -> None:
    draw([row(part, "fixed"), row(part, "ladder")], tmp_path / "out.png")
    (axis,) = drawn[0].axes
    assert len(axis.patches) == 2, "one share of memory: bars"
    assert [label.get_text() for label in axis.get_yticklabels()] == ["fixed", "ladder"]


def test_no_two_systems_have_one_colour_and_no_legend_covers_a_line(drawn: list[Any], tmp_path: Path) -> None:
    systems = [*(f"s{number}" for number in range(12)), "ladder", "clairvoyant"]
    draw([row("mix", system, share) for system in systems for share in SHARES], tmp_path / "out.png")
    (axis,) = drawn[0].axes
    assert len({str(line.get_color()) for line in axis.lines}) == len(systems)
    drawn[0].draw_without_rendering()
    assert not axis.get_legend().get_window_extent().overlaps(axis.get_window_extent())


def test_some_parts_have_several_panels() -> None:
    rows = [row("nodes", "tyche", share, nodes=nodes) for nodes in (4, 16) for share in (0.5, 2.0)]
    rows += [row("table", "tyche", trace_class="bursty"), row("mix", "fixed")]
    plain = [
        panel.title for panel in panels([row("plain", "fixed", trace=trace) for trace in ("mix", "hour")])
    ]
    assert [title.partition(": ")[2] for title in plain] == ["mix", "hour"]
    titles = [panel.title for panel in panels(rows)]
    assert titles[0] == "the published table: bursty"
    assert [title.partition(": ")[2] for title in titles[1:-1]] == [
        f"{nodes} nodes, {share} of memory" for nodes in (4, 16) for share in ("50%", "200%")
    ]
    assert titles[-1] == "four-hour mix, processes"


def test_what_has_no_loading_latency_is_not_drawn(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to draw: run one of the parts table, nodes, mix"):
        draw([{"part": "lent", "system": "always"}], tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()
