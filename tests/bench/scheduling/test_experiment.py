from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from rich.console import Console

from glowplug.bench.scheduling import against, batches, contexts, experiment, grid, loader, reproduction
from glowplug.bench.scheduling import rates as rates_part
from glowplug.bench.scheduling.cells import (
    FLOOR,
    OUR_EVICTION,
    OURS,
    PUBLISHED_EVICTION,
    Cell,
    measure,
    models_of,
    trace_for,
)
from glowplug.bench.scheduling.options import PARTS, Options
from tests.sim.workloads.traces import HOUR

Row = dict[str, Any]
FIELDS = {
    "system", "overlap", "loader", "popularity", "working_set", "rate_per_min", "duration_s", "seed",
    "offered_load", "mean_s", "p99_s", "miss_ratio", "false_miss_ratio", "simulated",
}  # fmt: skip
"""What experiments.md wants of a row."""


def cell(system: str = OURS, **more: Any) -> Cell:
    return Cell(**{"system": system, "minutes": 0.5, "working_set": 12, **more})


@pytest.mark.parametrize("system", ["lalb-o3-overlap", OURS, FLOOR])
def test_a_row_has_the_fields_that_every_row_has(system: str) -> None:
    row = measure(cell(system))
    assert row.keys() >= FIELDS | {"loads", "copies"}
    assert row["answered"] == row["requests"] > 100
    assert row["mean_s"] >= 1.2
    assert row["overlap"] == (system != FLOOR)


def test_nobody_gets_below_the_floor() -> None:
    floor = measure(cell(FLOOR))
    for system in ("lb", "lalb-o3", OURS):
        row = measure(cell(system))
        assert row["requests"] == floor["requests"], "the same calls"
        assert row["mean_s"] >= floor["mean_s"]
        assert row["offered_load"] == floor["offered_load"]


def test_a_greedy_function_adds_calls_and_moves_none() -> None:
    plain, greedy = (trace_for(cell(greedy=3, greedy_factor=factor)) for factor in (1.0, 5.0))
    before, after = plain.counts(), greedy.counts()
    assert after[3] == 5 * before[3]
    assert Counter(plain.times_s[plain.function != 3].tolist()) == Counter(
        greedy.times_s[greedy.function != 3].tolist()
    )
    assert (np.delete(after, 3) == np.delete(before, 3)).all()


def test_the_others_are_counted_without_the_greedy_one() -> None:
    row = measure(cell(greedy=0, greedy_factor=5.0))
    assert 0 < row["others_mean_s"] <= row["others_p99_s"]


def test_batches_take_what_was_measured() -> None:
    models = models_of(cell(batch_ratio={2: 1.5}))
    assert all(model.batch_s == {2: model.run_s * 1.5} for model in models)


def test_batch_ratios_are_the_least_gain_and_never_fall() -> None:
    rows = [
        {"part": "batches", "model": model, "batch": size, "runs_of_one": times}
        for model, ratios in (("a", (1, 1.5, 1.4)), ("b", (1, 0.8, 3.0)))
        for size, times in zip((1, 2, 4), ratios, strict=True)
    ]
    assert batches.ratio(rows) == {2: 1.5, 4: 3.0}
    rows[4]["runs_of_one"] = rows[1]["runs_of_one"] = 4.0
    assert batches.ratio(rows) == {2: 4.0, 4: 4.0}


def test_the_grid_has_20_points_that_are_evenly_dealt_out() -> None:
    points = grid.points()
    assert len(set(points)) == 20
    for place, values in enumerate((grid.RATES, grid.WORKING_SETS)):
        counts = Counter(point[place] for point in points)
        assert set(counts) == set(values)
        assert len(set(counts.values())) == 1
    by_exponent = Counter(point[2] for point in points)
    assert set(by_exponent.values()) == {5}


def fake(means: dict[str, float]) -> Any:
    """Rows whose latency depends on the system and the seed alone."""

    def rows(what: str, cells: list[Cell]) -> list[Row]:
        return [
            {
                "part": what, "policy": each.system, "eviction": each.evicts, "working_set": each.working_set,
                "rate_per_min": each.rate_per_min, "popularity": each.popularity, "seed": each.seed,
                "loader": each.loader, "copy_bytes_per_s": each.copy_bytes_per_s, "offered_load": 0.6,
                "mean_s": means[each.system] * (1 + each.seed), "p99_s": 3 * means[each.system],
                "p50_s": 1.0, "miss_ratio": 0.1, "false_miss_ratio": 0.0, "load_ratio": 0.1,
                "utilisation": 0.5, "latency_target_s": each.latency_target_s,
            }
            for each in cells
        ]  # fmt: skip

    return rows


def test_the_claims_are_about_each_rival_at_each_point() -> None:
    means = {system: 3.0 for system, _ in against.SYSTEMS} | {OURS: 2.0, "lalb-o3": 4.0}
    rows, claims, missing = against.run(Options(seeds=3), fake(means), {})
    assert missing == ["ours with batches: no batch costs were measured in this run"]
    assert len(rows) == 4 * 3 * len(against.SYSTEMS)
    values = {claim.name: (round(claim.value, 6), claim.holds) for claim in claims}
    assert len(values) == 8
    assert values["working set 35 at 325 a minute: lalb-o3's mean / ours"] == (2.0, True)
    name = "working set 35 at 450 a minute: lalb-o3-overlap's mean with the better of its evictions / ours"
    assert values[name] == (1.5, False)


def test_a_rival_of_our_making_counts_with_its_better_eviction_at_each_point_and_in_each_field() -> None:
    made = fake({system: 4.0 for system, _ in against.SYSTEMS} | {OURS: 2.0})
    best = {
        (35, "mean_s"): OUR_EVICTION,
        (35, "p99_s"): PUBLISHED_EVICTION,
        (70, "mean_s"): PUBLISHED_EVICTION,
    }

    def rows(what: str, cells: list[Cell]) -> list[Row]:
        found = made(what, cells)
        for row in found:
            for (size, field), eviction in best.items():
                if (row["working_set"], row["eviction"]) == (size, eviction) and row["policy"] != OURS:
                    row[field] *= 0.75
        return found  # type: ignore[no-any-return]

    _, claims, _ = against.run(Options(seeds=2), rows, {})
    values = {claim.name.removeprefix("working set "): round(claim.value, 6) for claim in claims}
    better = "with the better of its evictions / ours"
    assert values[f"35 at 325 a minute: lalb-o3-overlap's mean {better}"] == 1.5
    assert values[f"35 at 325 a minute: lalb-o3-overlap's p99 {better}"] == 1.5
    assert values[f"70 at 325 a minute: lalb-o3-overlap's mean {better}"] == 1.5
    assert values["35 at 325 a minute: lalb-o3's mean / ours"] == 2.0, "as published, not with ours"


def test_ours_with_batches_stands_apart_and_no_claim_is_about_it() -> None:
    means = {system: 3.0 for system, _ in against.SYSTEMS} | {OURS: 2.0}
    ratio = {2: 1.5, 32: 9.0}
    rows, claims, missing = against.run(Options(seeds=1), fake(means), ratio)
    assert len(rows) == 4 * (len(against.SYSTEMS) + 1)
    assert missing == []
    for row in rows:
        row["mean_s"] *= 0.5 if row["latency_target_s"] else 1.0
    _, alone, _ = against.run(Options(seeds=1), fake(means), {})
    assert claims == alone
    lines = {line["system"]: line for line in against.table(rows)}
    assert lines[f"{OURS}, batches"]["mean_x"] == 0.5


def test_ours_makes_batches_of_what_was_measured_within_the_target() -> None:
    """More than the devices can do one by one."""
    busy = cell(working_set=3, rate_per_min=700.0, batch_ratio={2: 1.2, 4: 1.6})
    alone, batched = (measure(msgspec.structs.replace(busy, latency_target_s=t)) for t in (0.0, 5.0))
    assert batched["answered"] == alone["answered"]
    assert batched["mean_s"] < alone["mean_s"]


def test_the_grid_claims_its_worst_point() -> None:
    rows, claims, _ = grid.run(Options(grid_seeds=4), fake({OURS: 2.0, "lalb-o3": 1.9}))
    assert len(grid.table(rows)) == 20
    assert not any(claim.holds for claim in claims)
    _, claims, _ = grid.run(Options(grid_seeds=4), fake({OURS: 1.9, "lalb-o3": 1.9}))
    assert all(claim.holds for claim in claims)


def test_the_highest_rate_is_found_to_within_a_step() -> None:
    def rows(what: str, cells: list[Cell]) -> list[Row]:
        most = {(OURS, OUR_EVICTION): 507.0, (FLOOR, PUBLISHED_EVICTION): 549.0}
        most |= {("start-estimate", OUR_EVICTION): 450.0}
        return [
            {"p99_s": 9.0 if c.rate_per_min <= most.get((c.system, c.evicts), 390.0) else 11.0} for c in cells
        ]

    found, claims, missing = rates_part.run(Options(), rows, {2: 1.5, 32: 9.0})
    rates = {(row["policy"], row["eviction"], row["batching"]): row["highest_rate_per_min"] for row in found}
    assert 502.0 < rates[OURS, OUR_EVICTION, False] <= 507.0
    assert 385.0 < rates["lalb-o3", PUBLISHED_EVICTION, False] <= 390.0
    assert 385.0 < rates["start-estimate", PUBLISHED_EVICTION, False] <= 390.0
    assert 445.0 < rates["start-estimate", OUR_EVICTION, False] <= 450.0
    assert (OURS, OUR_EVICTION, True) in rates
    assert [round(claim.value, 1) for claim in claims] == [1.3, 1.3]
    assert missing == []
    assert rates_part.run(Options(), rows, {})[2], "says that nothing was measured of batches"


def test_a_rate_that_is_hopeless_where_every_model_lies_everywhere_is_not_tried() -> None:
    def rows(what: str, cells: list[Cell]) -> list[Row]:
        tried.update((c.system, bool(c.batch_ratio), c.rate_per_min) for c in cells)
        return [{"p99_s": 9.0 if c.rate_per_min <= 549.0 else 31.0} for c in cells]

    tried: set[tuple[str, bool, float]] = set()
    rates_part.run(Options(), rows, {2: 1.5})
    high = {(system, batching) for system, batching, rate in tried if rate > 600.0}
    assert high == {(FLOOR, False), (OURS, True)}


def test_the_break_even_is_where_copies_become_fast_enough() -> None:
    def rows(what: str, cells: list[Cell]) -> list[Row]:
        made = fake(dict.fromkeys(("lb", "lalb-o3", "lalb-o3-overlap", OURS), 2.0))(what, cells)
        for row, each in zip(made, cells, strict=True):
            assert (each.nodes, each.host_bytes) == ((3, 128e9) if each.loader == "ours" else (1, 128e9))
            if each.loader == "ours" and each.copy_bytes_per_s < 5e9:
                row["mean_s"] *= 2
        return made  # type: ignore[no-any-return]

    found, _, _ = loader.run(Options(seeds=1), rows)
    even = [row["break_even_bytes_s"] for row in found if "break_even_with" in row]
    assert len(even) == 6
    assert all(5e9 <= bytes_s <= 5e9 * loader.FOUND_WITHIN for bytes_s in even)


def test_models_that_share_a_context_leave_room_for_more() -> None:
    apart = cell(working_set=20, devices=2, rate_per_min=60.0, minutes=2.0)
    shared = msgspec.structs.replace(apart, shared_context_bytes=contexts.CONTEXT_BYTES)
    before, then = measure(apart), measure(shared)
    assert then["requests"] == then["answered"] == before["answered"]
    assert then["evictions"] < before["evictions"] / 2
    assert then["mean_s"] < before["mean_s"]


def test_contexts_of_their_own_stand_beside_shared_ones() -> None:
    rows, claims, missing = contexts.run(Options(seeds=2), _with_contexts({OURS: 2.0, "lalb-o3": 3.0}))
    assert (claims, missing) == ([], [])
    lines = contexts.table(rows)
    assert len(lines) == len(contexts.POINTS) * 2 * 2
    assert {(line["contexts"], line["mean_x"], line["p99_x"]) for line in lines} == {
        ("one a model", 1.0, 1.0),
        ("one a device", 2.0, 2.0),
    }


def _with_contexts(means: dict[str, float]) -> Any:
    """Twice as fast where they are shared."""
    made = fake(means)

    def rows(what: str, cells: list[Cell]) -> list[Row]:
        found: list[Row] = made(what, cells)
        for row, each in zip(found, cells, strict=True):
            row |= {"shared_context_bytes": each.shared_context_bytes, "hottest_copies": 3.0}
            for field in ("mean_s", "p99_s"):
                row[field] /= 2.0 if each.shared_context_bytes else 1.0
        return found

    return rows


def test_without_the_recorded_calls_the_rest_of_the_comparison_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOWPLUG_TRACES", str(tmp_path))
    options = Options(seeds=1)
    means = dict.fromkeys(reproduction.SYSTEMS, 2.0) | {"lb": 20.0}
    made = fake(means)

    def rows(what: str, cells: list[Cell]) -> list[Row]:
        more = {"loads": 10, "devices": 12, "duration_s": 360.0, "hottest_copies": 3.0}
        return [row | more for row in made(what, cells)]

    found, claims, missing = reproduction.run(options, rows)
    assert claims == []
    assert len(missing) == 1
    assert len(found) == 3 * 3 * 3
    lines = reproduction.table(found)
    best = next(line for line in lines if (line["system"], line["models"]) == ("lalb-o3", 35))
    assert best["less_mean"] == pytest.approx(0.9)
    assert best["paper_mean"] == 0.9693


@pytest.mark.skipif(not HOUR.is_dir(), reason="the recorded hour is not here")
def test_the_recorded_counts_come_at_the_papers_rate() -> None:
    trace = trace_for(cell(popularity="azure", working_set=35, minutes=6, traces=str(HOUR)))
    assert (trace.requests, trace.functions, trace.span_s) == (325 * 6, 35, 360.0)


def test_parts_that_are_not_there_are_named() -> None:
    with pytest.raises(ValueError, match="no parts nothing"):
        Options(parts=("nothing",))


def test_the_quick_version_runs_reports_and_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'glowplug[plots]'")
    parts = ("reproduction", "grid", "decisions", "picture")
    result = experiment.run(Options(quick=True, parts=parts, traces=str(HOUR)))
    assert {row["part"] for row in result.rows} == set(parts) - {"picture"}
    assert result.claims == [], "claims come from full runs"
    assert {line.split(":")[0] for line in result.missing} >= {f"part {p}" for p in set(PARTS) - set(parts)}
    console = Console(record=True, width=200)
    experiment.report(result, console)
    assert "what a decision costs" in console.export_text()
    experiment.plot(result, tmp_path / "picture.svg")
    assert "finish-first" in (tmp_path / "picture.svg").read_text()
