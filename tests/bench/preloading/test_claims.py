"""What `preloading` claims, of rows whose answer is known."""

from __future__ import annotations

from typing import Any

import pytest

from glowplug.bench.preloading.claims import at_loading, best_fixed, claims


def row(part: str, system: str, wait_s: float, **given: Any) -> dict[str, Any]:
    ours = system.startswith(("ladder", "clairvoyant"))
    return {
        "part": part,
        "system": system,
        "preload": "tyche" if system == "tyche" else "none",
        "eviction": "ladder" if ours else "lru",
        "memory_share": 0.1,
        "seed": 1,
        "loading_mean_s": wait_s,
        "loading_s": 100.0,
        "wasted_byte_s": 1.0,
        "overloaded": False,
        **given,
    }


def held(rows: list[dict[str, Any]], words: str) -> bool:
    (found,) = [each for each in claims(rows) if words in each.name]
    return found.holds


@pytest.mark.parametrize(("ladder_s", "holds"), [(1.02, True), (1.2, False)])
def test_a_cell_is_worse_from_five_percent_on(ladder_s: float, holds: bool) -> None:
    rows = [row("hour", "fixed", 1.0), row("hour", "ladder", ladder_s)]
    assert held(rows, "beyond its 95 % interval") is holds


def test_a_cell_that_may_be_as_good_is_not_worse() -> None:
    rows = []
    for seed, ladder_s in enumerate((0.9, 1.4, 1.3)):
        rows += [row("hour", "fixed", 1.0, seed=seed), row("hour", "ladder", ladder_s, seed=seed)]
    assert held(rows, "beyond its 95 % interval")
    assert not held(rows, "by the ratio alone")


def test_cells_in_which_the_rival_is_in_overload_do_not_count() -> None:
    rows = [row("hour", "fixed", 20.0, overloaded=True), row("hour", "ladder", 40.0, overloaded=True)]
    assert not [each for each in claims(rows) if "beyond" in each.name]
    rows += [row("hour", system, 1.0, memory_share=0.5) for system in ("fixed", "ladder")]
    assert held(rows, "cells of 1, 1 in overload left out, in which ladder waits over 5 % longer, beyond")


@pytest.mark.parametrize("overloaded", [1, 3])
def test_where_ladder_alone_is_in_overload_it_is_worse(overloaded: int) -> None:
    rows = []
    for seed in range(3):
        over = seed < overloaded
        rows += [
            row("hour", "fixed", 1.0, seed=seed),
            row("hour", "ladder", 12.0 if over else 1.2, seed=seed, overloaded=over),
        ]
    assert not held(rows, "by the ratio alone")
    assert held(rows, "beyond its 95 % interval") is (overloaded < 3)


def test_neither_ladder_nor_the_bound_is_a_rival() -> None:
    rows = [row("mix", "fixed", 1.0), row("mix", "ladder", 0.5), row("mix", "clairvoyant", 0.1)]
    assert best_fixed(rows) == "fixed"
    assert held(rows, "ladder / clairvoyant")


def test_equal_seconds_of_loading_are_on_the_curve_between_two_shares() -> None:
    curve = [
        row("cpu", "ladder, 0% of a core", 1.0, loading_s=80.0),
        row("cpu", "ladder", 0.2, loading_s=120.0),
    ]
    assert at_loading(curve, 100.0) == pytest.approx(0.6)
    assert at_loading(curve, 10.0) == 1.0
    assert held([*curve, row("cpu", "fixed", 0.7)], "equal seconds of loading")
    assert not held([*curve, row("cpu", "fixed", 0.5)], "equal seconds of loading")


@pytest.mark.parametrize(("apart_s", "holds"), [(2.0, True), (1.5, False)])
def test_nodes_by_themselves_are_claimed_beside_one_router(apart_s: float, holds: bool) -> None:
    rows = [
        row("nodes", "instainfer + faascache", 1.1, nodes=16),
        row("nodes", "instainfer + faascache, in turn", apart_s, nodes=16),
        row("nodes", "tyche + faascache", 1.0, nodes=16),
        row("nodes", "instainfer + fixed", 3.0, nodes=16),
    ]
    assert held(rows, "displacing: instainfer + faascache, in turn / tyche + faascache (") is holds
    assert not held(rows, "displacing: instainfer + faascache / tyche + faascache (")


def test_without_helpers_ladder_is_compared_with_both_kinds_of_rivals() -> None:
    def plain(system: str, wait_s: float, keeps_loaded: bool) -> dict[str, Any]:
        return row("plain", system, wait_s, trace="mix", keeps_loaded=keeps_loaded)

    rows = [plain("fixed", 1.5, True), plain("openwhisk", 4.0, False), plain("ladder", 1.0, True)]
    assert not held(rows, "no helpers: fixed / ladder")
    assert held(rows, "no helpers, rivals as published: openwhisk / ladder")


@pytest.mark.parametrize(("part", "words"), [("zygote", ""), ("shared", ", weights shared")])
def test_zygotes_beside_processes_with_little_memory_and_beside_rivals_with_any(
    part: str, words: str
) -> None:
    def rows_of(share: float, rival_s: float) -> list[dict[str, Any]]:
        return [
            row(part, system, wait_s, memory_share=share, substrate=substrate)
            for system, substrate, wait_s in (
                ("fixed", "process", 1.0),
                ("ladder", "process", 0.2),
                ("fixed", "zygote", rival_s),
                ("ladder", "zygote", 0.02),
            )
        ]

    rows = [*rows_of(0.1, 0.024), *rows_of(0.5, 0.024)]
    assert held(rows, f"10% of memory{words}: ladder on zygotes below fixed on processes") is (not words)
    assert not held(rows, f"10% of memory{words}: ladder on zygotes below ladder on processes")
    assert not [each for each in claims(rows) if "50%" in each.name and "processes" in each.name]
    assert held(rows, f"10% of memory, zygotes{words}") is bool(words), "1.2 where 1.4 are wanted"
    assert held(rows, f"50% of memory, zygotes{words}")


@pytest.mark.parametrize("part", ["mix", "hour", "zygote"])
def test_what_is_held_in_vain_is_beside_the_tyche_that_waits_less(part: str) -> None:
    def rows_of(share: float, system: str, wait_s: float, wasted_byte_s: float) -> dict[str, Any]:
        given = {"memory_share": share, "wasted_byte_s": wasted_byte_s, "substrate": "zygote"}
        return row(part, system, wait_s, **given)

    rows = [
        rows_of(0.25, "tyche", 0.4, 1e12),
        rows_of(0.25, "tyche, displacing", 0.8, 9e12) | {"preload": "tyche"},
        rows_of(0.25, "ladder", 0.1, 2e12), rows_of(0.25, "ladder, called only", 0.2, 1e11),
        rows_of(0.5, "tyche", 0.4, 0.0), rows_of(0.5, "ladder", 0.1, 0.9e9),
        rows_of(0.5, "ladder, called only", 0.5, 2e9),
    ]  # fmt: skip
    words = "wasted byte-seconds, ladder"
    assert not held(rows, f"{part}, 25% of memory: {words} / tyche")
    assert held(rows, f"{part}, 25% of memory: {words}, called only / tyche")
    assert held(rows, f"{part}, 25% of memory: tyche / ladder, called only")
    assert held(rows, f"{part}, 50% of memory: {words} / tyche"), "as good as nothing"
    assert not held(rows, f"{part}, 50% of memory: {words}, called only / tyche")
    assert not held(rows, f"{part}, 50% of memory: tyche / ladder, called only")
