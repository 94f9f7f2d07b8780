"""Policies as `glowplug serve` is given them."""

from __future__ import annotations

from typing import Any

import pytest

from glowplug.cli.control_options import control_settings
from glowplug.core.errors import InvalidDeclaration
from glowplug.core.settings import ControlSettings


def settings(**given: Any) -> ControlSettings:
    usual = ControlSettings()
    return control_settings(
        **{
            "scheduling": usual.scheduling, "eviction": None, "device_eviction": usual.device_eviction,
            "preload": usual.preload, "cpu_share": usual.preload_cpu_share,
            "memory_share": usual.preload_memory_share, "horizon_s": usual.preload_horizon_s,
        } | given
    )  # fmt: skip


@pytest.mark.parametrize(
    ("preload", "eviction", "evicts", "keeps"),
    [
        ("none", None, "value-per-byte", "fixed"), ("tyche", None, "value-per-byte", "fixed"),
        ("ladder", None, "ladder", "kept"), ("ladder", "lru", "lru", "kept"),
        ("tyche", "greedy-dual", "greedy-dual", "fixed"), ("none", "ladder", "ladder", "fixed"),
    ],
)  # fmt: skip
def test_what_leaves_and_what_is_kept_goes_with_what_loads_ahead(
    preload: str, eviction: str | None, evicts: str, keeps: str
) -> None:
    found = settings(preload=preload, eviction=eviction)
    assert (found.preload, found.eviction, found.prewarm) == (preload, evicts, keeps)


@pytest.mark.parametrize("uncalled", [True, False])
def test_whether_first_calls_are_loaded_ahead_is_told_to_the_controller(uncalled: bool) -> None:
    assert settings(preload="ladder", uncalled=uncalled).preload_uncalled is uncalled


@pytest.mark.parametrize("option", ["eviction", "device_eviction", "scheduling"])
def test_a_policy_that_there_is_not_is_refused_by_name(option: str) -> None:
    with pytest.raises(InvalidDeclaration, match="'best'"):
        settings(**{option: "best"})
