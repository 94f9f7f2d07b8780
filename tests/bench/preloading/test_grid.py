"""Which cells parts have, and how regular the functions are that they play."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from glowplug.bench.preloading import classes
from glowplug.bench.preloading.cells import LEAST_NODE_BYTES, Cell, node_bytes, run_cell
from glowplug.bench.preloading.grid import cells, too_small
from glowplug.bench.preloading.options import Options
from glowplug.sim.replays import Cluster
from glowplug.sim.systems import system_of
from tests.sim.workloads.test_azure2019 import write_day


def made(part: str, **given: object) -> list[Cell]:
    return list(cells(Options(parts=(part,), repeats=1, path="nowhere", **given)))  # type: ignore[arg-type]


def test_cells_of_small_nodes_are_left_out_and_listed() -> None:
    options = Options(parts=("wide",), repeats=1, path="nowhere")
    here = list(cells(options))
    assert {cell.cluster.nodes for cell in here} == {8, 16}
    assert all(node_bytes(cell.cluster, cell.functions) >= LEAST_NODE_BYTES for cell in here)
    assert any("64 nodes" in line for line in too_small(options))
    assert {cell.cluster.nodes for cell in made("wide", wide_functions=480)} == {8, 16, 64}
    assert {cell.cluster.nodes for cell in made("wide", wide_functions=480, wide_nodes=(64,))} == {64}
    assert not too_small(Options(parts=("mix",)))


def test_nobody_has_helpers_in_the_plain_part() -> None:
    here = made("plain")
    assert not any(cell.system.helpers for cell in here)
    for workload in {cell.workload for cell in here}:
        names = [cell.system.name for cell in here if cell.workload == workload]
        assert {"ladder", "histogram", "openwhisk", "tyche + faascache"} <= set(names)
    keeps = {cell.system.name: cell.system.keeps_loaded for cell in here}
    assert keeps["ladder"]
    assert not keeps["openwhisk"]


def test_weights_are_shared_on_zygotes_alone() -> None:
    here = made("shared")
    assert {(cell.system.substrate, cell.shares_weights) for cell in here} == {
        ("process", False),
        ("zygote", True),
    }
    assert not any(cell.shares_weights for cell in made("zygote"))


def test_a_cell_says_whether_weights_are_shared() -> None:
    system, cluster = system_of("fixed", "zygote"), Cluster(nodes=1, memory_share=0.5)
    own, shared = (
        run_cell(
            Cell("shared", system, cluster, "zipf:functions=16,rate_per_min=20,minutes=10", 16, 1,
                 shares_weights=given)
        )
        for given in (False, True)
    )  # fmt: skip
    assert (own["shares_weights"], shared["shares_weights"]) == (False, True)
    assert shared["held_mean_bytes"] < own["held_mean_bytes"]


def test_how_regular_functions_are_before_the_stretching_and_after(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    hour = write_day(tmp_path / "hour.csv", {f"o,a,f{n},http": [1, *rng.poisson(3, 59)] for n in range(30)})
    here = list(cells(Options(parts=("jitter",), repeats=2, path=str(hour), mix_functions=20)))
    found = list(classes.rows(here))
    assert {row["seed"] for row in found} == {1, 2}
    assert {row["workload"] for row in found} == {"mix,jitter"}
    for row in found:
        assert row["count"] == row["predictable"] + row["normal"] + row["bursty"] + row["unknown"]
    assert sum(row["count"] for row in found) == 2 * 20
    before = {row["before"]: row for row in found if row["seed"] == 1}
    assert before["unknown"]["count"] == 0
    assert sum(row["unknown"] for row in before.values()) > 0, "the window shows some less than three times"
    assert list(classes.rows(made("hour"))) == []
