"""The experiment `distributed`: its small version, and what it judges by."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from glowplug.bench.distributed import experiment, paper, schemes
from glowplug.bench.distributed.break_even import alone_bytes, beside_a_server
from glowplug.bench.distributed.ground import ground_of
from glowplug.bench.distributed.options import PARTS, Options
from glowplug.bench.registry import options_of
from glowplug.bench.result import Result
from glowplug.distributed.partition.methods import partition
from glowplug.distributed.partition.result import sends
from glowplug.distributed.prices import price_table
from glowplug.distributed.workload.challenge import ChallengeNetwork

pytest.importorskip("numba", reason="pip install 'glowplug[distributed]'")
pytest.importorskip("mtkahypar", reason="pip install 'glowplug[distributed]'")
FIELDS = {
    "system", "plan", "channel", "neurons", "layers", "workers", "seed", "total_s", "usd", "bytes_sent",
    "rows_sent", "predicted_s", "predicted_usd", "delay_model", "equal", "simulated",
}  # fmt: skip

PUBLISHED_PUTS = 6452
"""At N = 1024 and P = 8."""


@pytest.fixture(scope="module")
def small() -> Result:
    return experiment.run(Options(quick=True, parts=("formula", "kernel", "schemes", "sizes", "pipeline")))


def test_every_row_has_the_fields_of_the_experiment(small: Result) -> None:
    for row in small.rows:
        assert row.keys() >= FIELDS
        assert row["part"] in PARTS
        assert row["simulated"] == (row["part"] in ("schemes", "pipeline"))
        assert row["simulated"] == (row["delay_model"] is not None)
    assert {row["part"] for row in small.rows} == {"formula", "kernel", "schemes", "sizes", "pipeline"}
    others = ("choice", "live", "faults", "capped", "gang", "transformer")
    assert small.missing == [f"part {part}: not asked for" for part in others]
    assert all(claim.holds for claim in small.claims)


def test_all_ways_to_multiply_give_the_same_categories(small: Result) -> None:
    rows = [row for row in small.rows if row["part"] == "kernel"]
    assert [row["system"] for row in rows] == [
        "ours",
        "scipy, dense activations",
        "scipy, sparse activations",
    ]
    assert all(row["equal"] for row in rows)
    edges = [row["edges_per_s"] * row["total_s"] for row in rows]
    assert edges == pytest.approx([32 * 1024 * 6 * 1000] * 3)


def test_ours_sends_less_than_what_was_published_and_costs_less(small: Result) -> None:
    rows = [row for row in small.rows if row["part"] == "schemes"]
    usd = {(row["system"], row["channel"]): row["usd"] for row in rows}
    assert usd["ours", "queue"] < usd["re-made, our rows", "queue"] < usd["re-made, as published", "queue"]
    assert usd["ours", "object"] < usd["re-made, our rows", "object"]
    sent = {(row["system"], row["channel"]): row["bytes_sent"] for row in rows}
    assert sent["ours", "queue"] < sent["re-made, our rows", "queue"] / 3


def test_each_plan_says_from_how_many_queries_an_hour_a_server_costs_less(small: Result) -> None:
    """That which holds the network and all samples at a time."""
    table = price_table()
    rows = [row for row in small.rows if row["part"] in ("schemes", "pipeline")]
    assert rows
    for row in rows:
        server = table.servers[row["server"]]
        assert row["break_even_per_hour"] * row["usd"] == pytest.approx(server.usd_hour)
        assert row["prices_as_of"] == table.as_of
    samples = Options(quick=True).resolved().samples
    large, larger = (alone_bytes(ChallengeNetwork(neurons, 120), samples) for neurons in (1024, 16384))
    assert 120 * 32 * 8 * 1024 < large < larger / 15
    assert beside_a_server(1e-3, memory_bytes=5 * 2**30)["server"] == "c5.xlarge"
    assert beside_a_server(1e-3, memory_bytes=2**50)["break_even_per_hour"] is None
    assert beside_a_server(0.0)["break_even_per_hour"] is None


def test_a_table_and_a_picture(small: Result, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'glowplug[plots]'")
    console = Console(record=True, width=150)
    experiment.report(small, console)
    shown = console.export_text()
    assert "re-made, as" in shown
    _, _, beside = shown.partition("queries an hour from which an always-on server costs less")
    assert f"prices of {price_table().as_of}" in beside
    assert "break_even_per_hour" in beside
    assert "c5." in beside
    experiment.plot(small, tmp_path / "distributed.png")
    assert (tmp_path / "distributed.png").stat().st_size > 10_000


def test_unknown_parts_and_delays_are_named() -> None:
    with pytest.raises(ValueError, match="no parts magic; it has formula"):
        options_of(Options, False, None, ["parts=magic"])
    with pytest.raises(ValueError, match="no delays hop-1ms; it has hop-20ms"):
        options_of(Options, False, None, ["delays=hop-1ms"])
    assert options_of(Options, True, None, ["workers=8,20", "ink=9,13"]).ink == (9, 13)


def test_parts_share_a_network_and_what_was_made_of_it(tmp_path: Path) -> None:
    told: list[str] = []

    def tell(words: str) -> None:
        told.append(words)

    options = Options(quick=True, folder=str(tmp_path)).resolved()
    here = ground_of(options, 1024, 0, tell)
    problem, theirs = here.problem((8,)), here.paper_problem("queue", as_published=False)
    many = len(told)
    assert ground_of(options, 1024, 0, tell) is here
    assert here.problem((8,)) is problem
    assert here.paper_problem("queue", as_published=False) is theirs
    assert len(told) == many
    assert np.array_equal(theirs.partitions[8].sent, problem.partitions[8].sent)
    assert len(list(tmp_path.iterdir())) == 1, "cut once, and kept"
    assert here.paper_problem("object", as_published=True).partitions[8].method == "as published"


def test_the_partition_as_published_sends_its_rows_and_puts_its_objects() -> None:
    """Fitted to the rows at P = 8; the objects that were put follow, of 120 layers where ours send in 119.
    Layers are alike once they are permuted."""
    network = ChallengeNetwork(1024, 24)
    found = paper.as_published(network, partition(network, 8))
    pairs = [
        len(sends(network.layer(index), found.owners[index - 1], found.owners[index], 8))
        for index in range(1, network.layers)
    ]
    first = network.permuted_from
    expected = (paper.ROWS_SENT, PUBLISHED_PUTS * 119 / 120)
    for sent, theirs in zip((found.rows_sent[1:], pairs), expected, strict=True):
        later = sum(sent[first:]) / len(sent[first:])
        assert sum(sent[:first]) + later * (119 - first) == pytest.approx(theirs, rel=0.02)


def test_rows_are_exchanged_in_permuted_layers_alone() -> None:
    network = ChallengeNetwork(1024, 8)
    ours = partition(network, 8, "block")
    found = paper.as_published(network, ours)
    changed = [
        not np.array_equal(before, after) for before, after in zip(ours.owners, found.owners, strict=True)
    ]
    assert changed == [False] * 6 + [True] * 2
    for before, after in zip(ours.owners, found.owners, strict=True):
        assert np.array_equal(np.bincount(before), np.bincount(after))


def test_text_is_as_much_longer_as_theirs_was() -> None:
    rng = np.random.default_rng(0)
    values = np.zeros((20, 2000), np.float32)
    alive = rng.permutation(2000)[:80]
    values[:, alive] = rng.integers(0, 512, (20, 80)) / 16
    rows = np.arange(20, dtype=np.int32)
    in_object = len(paper.text_in_object(rows, values))
    on_queue = len(paper.text_on_queue(rows, values))
    assert on_queue / in_object == pytest.approx(2.95, rel=0.05)
    tenths = values + np.float32(0.1) * (values > 0)
    short, long = (len(encode(rows, tenths)) for encode in (paper.text_on_queue, paper.text_in_object))
    assert short / 2.95 < 0.9 * long, "fp32 is sent with fewer digits than fp64"
    assert ast.literal_eval(paper._text(rows, tenths).decode()) == [
        (row, np.flatnonzero(each).tolist(), [float(str(one)) for one in each[each > 0]])
        for row, each in enumerate(tenths)
    ]


def scheme(system: str, channel: str, usd: float, delay_model: str = "a") -> dict[str, Any]:
    return {
        "neurons": 1024, "workers": 8, "delay_model": delay_model, "slowdown": 1.0, "system": system,
        "channel": channel, "usd": usd,
    }  # fmt: skip


def test_the_claims_take_the_better_channel_of_each_and_the_worst_delay() -> None:
    rows = [
        scheme("re-made, as published", "queue", 10.0), scheme("re-made, as published", "object", 25.0),
        scheme("ours", "queue", 2.0), scheme("ours", "object", 1.0),
        scheme("re-made, as published", "queue", 9.0, "b"),
        scheme("re-made, as published", "object", 36.0, "b"),
        scheme("ours", "queue", 3.0, "b"), scheme("ours", "object", 4.0, "b"),
    ]  # fmt: skip
    (ratio,) = schemes._ratio_claims(rows)
    assert ratio.value == pytest.approx(abs(2.5 / (0.05390946909375 / 0.021531605009375) - 1))
    (cheaper,) = schemes._cheaper_claims(rows)
    assert (cheaper.value, cheaper.holds) == (3.0, False)


def test_what_was_published_is_the_baseline_where_the_scheme_that_was_remade_costs_more() -> None:
    rows = [
        scheme("re-made, as published", "queue", 10.0) | {"published_usd": 12.0},
        scheme("re-made, as published", "object", 25.0) | {"published_usd": 8.0},
        scheme("ours", "queue", 2.0), scheme("ours", "object", 1.0),
    ]  # fmt: skip
    (cheaper,) = schemes._cheaper_claims(rows)
    assert cheaper.value == 8.0
