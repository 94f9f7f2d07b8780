from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glowplug.bench.loading import experiment
from glowplug.bench.loading.cells import floor_s
from glowplug.bench.loading.claims import ablation, claims
from glowplug.bench.loading.models import Subject
from glowplug.loader.format import Section, UnitEntry
from glowplug.loader.info import PackInfo

NONE = Section(0, b"")


def subject(sizes: list[int], compute_s: list[float]) -> Subject:
    units, offset = [], 0
    for size in sizes:
        units.append(UnitEntry((), offset, size, b"", b""))
        offset += size
    info = PackInfo("x.pack", "", offset, 0, offset, NONE, None, (), tuple(units))
    return Subject("x", Path("x.pack"), lambda: None, (), None, sum(compute_s), info, tuple(compute_s))


def floor(
    sizes: list[int], compute_s: list[float], bandwidth: float, fill: float, cores: int = 2, threads: int = 1
) -> float:
    one = subject(sizes, compute_s)
    return floor_s(one, one.forward_s, bandwidth, 0.0, fill, cores, threads)


@pytest.mark.parametrize(
    ("sizes", "compute_s", "expected_s"),
    [
        ([100, 100], [0.0, 0.0], 2.0),  # the store alone
        ([1, 1], [3.0, 3.0], 6.0 + 0.01),  # the computation, once its first weights are there
        ([100, 100], [5.0, 0.5], 6.5),  # the first layer is long, the last one short
        ([100, 100], [0.5, 5.0], 7.0),  # the last layer is long, and its weights come last
    ],
)
def test_the_floor_is_the_latest_unit_and_what_follows_it(
    sizes: list[int], compute_s: list[float], expected_s: float
) -> None:
    assert floor(sizes, compute_s, 100.0, 1e12, threads=1) == pytest.approx(expected_s)


def test_the_floor_knows_that_computing_and_copying_share_the_cores() -> None:
    assert floor([100], [2.0], 1e12, 100.0, threads=2) == pytest.approx(3.0)
    assert floor([300], [2.0], 1e12, 100.0, cores=1) == pytest.approx(5.0)


def test_the_floor_computes_at_the_pace_of_the_loads_it_judges() -> None:
    slower = floor_s(subject([100, 100], [0.5, 5.0]), 11.0, 100.0, 0.0, 1e12, cores=2, threads=1)
    assert slower == pytest.approx(12.0)  # the last layer, ten elevenths of a forward, after its weights


def row(system: str, source: str, cache: str, first_s: float, **more: Any) -> dict[str, Any]:
    return {
        "system": system, "model": "net", "source": source, "cache": cache, "first_answer_s": first_s,
        "bandwidth_bytes_s": 1.25e9 if source == "store" else None, "batch": 1, "threads": 2,
        "warm_forward_s": 0.05, "floor_s": 0.095, "weights_bytes": 100e6, "equal": True,
        "utilisation_union": 0.9, "utilisation_compute": 0.5, "extra_bytes": 1e6, **more,
    }  # fmt: skip


def test_every_regime_is_judged_by_its_own_targets() -> None:
    rows = [
        row("pisel", "store", "-", 0.4),
        row("pisel+noinit", "store", "-", 0.15),
        row("streamed", "store", "-", 0.1),
        row("pisel", "disk", "cold", 0.4),
        row("pisel+noinit", "disk", "cold", 0.11),
        row("mapped", "disk", "cold", 0.1),
        row("pisel", "disk", "warm", 0.5),
        row("pisel+noinit", "disk", "warm", 0.2),
        row("cicada", "disk", "warm", 0.12),
        row("mapped", "disk", "warm", 0.07),
    ]
    found = {each.name: each.holds for each in claims(rows)}
    assert found["1.25 GB/s store: auto's time below pisel's, mean over models"]
    assert found["1.25 GB/s store: auto's time below pisel+noinit's, mean over models"]
    assert not found["cold disk: auto's time below pisel+noinit's, mean over models"]
    assert found["warm: mapped's time below cicada's, mean over models"]
    assert found["warm: mapped above the second forward, worst model up to 600 MB_s"]
    assert found["1.25 GB/s store: auto above the floor by more than 5 ms, worst model's share"]
    assert found["cells whose answer is not the plain forward's, bit for bit"]
    assert ablation(rows)[0].startswith("store -: streamed 75.0%")


def test_a_wrong_answer_and_a_slow_auto_are_seen() -> None:
    rows = [
        row("pisel", "disk", "warm", 0.1),
        row("mapped", "disk", "warm", 0.2, equal=False, extra_bytes=65e6),
    ]
    found = {each.name: each.holds for each in claims(rows)}
    assert not found["cells whose answer is not the plain forward's, bit for bit"]
    assert not found["warm: auto behind the best strategy by more than 5 ms, worst model's share"]
    assert not found["mapped: memory above the model's own, worst_bytes"]


def test_loads_beside_each_other_and_peers_are_judged() -> None:
    beside = {"model": "net", "source": "store", "cache": "-", "system": "streamed"}
    peer = {"peer": True, "model": "net", "equal": None, "batch": 1, "threads": 2}
    rows = [
        {
            **beside,
            "scheduler": "alone",
            "beside_class": "background",
            "first_answer_s": 0.1,
            "left_over_share": 0,
        },
        {
            **beside,
            "scheduler": "on",
            "beside_class": "background",
            "first_answer_s": 0.2,
            "left_over_share": 0.9,
        },
        {**peer, "system": "auto", "source": "disk", "cache": "cold", "first_answer_s": 0.1},
        {**peer, "system": "other", "source": "disk", "cache": "cold", "first_answer_s": 0.13},
        {**peer, "system": "auto", "source": "disk", "cache": "warm", "first_answer_s": 0.1},
        {**peer, "system": "other", "source": "disk", "cache": "warm", "first_answer_s": 0.08},
    ]
    found = {each.name: each.holds for each in claims(rows)}
    assert found == {
        "net beside seven of the lowest: times its latency alone": False,
        "the seven beside net: share of what was left over": True,
        "warm: auto behind the best peer by more than 5 ms, worst model's share": False,
        "cold disk: best peer's time / auto's, mean over models": True,
        "cells whose answer is not the plain forward's, bit for bit": True,
    }


def test_openmp_spins_as_in_the_platform_unless_it_is_told_otherwise_or_runs() -> None:
    environment: dict[str, str] = {}
    assert experiment.openmp_of_the_platform((), environment) == "10000" == environment["GOMP_SPINCOUNT"]
    assert experiment.openmp_of_the_platform((), {"GOMP_SPINCOUNT": "5"}) == "5"
    assert experiment.openmp_of_the_platform(("torch",), {}) is None
