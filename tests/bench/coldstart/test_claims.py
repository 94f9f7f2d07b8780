from __future__ import annotations

from typing import Any

from glowplug.bench.coldstart.claims import claims


def row(system: str, step: str, overhead_s: float, **more: Any) -> dict[str, Any]:
    return {
        "system": system, "model": "minilm", "step": step, "cache": "warm", "overhead_s": overhead_s,
        "latency_s": overhead_s + 0.01, "ratio_to_naive": 2.0 / (overhead_s + 0.01), "difference": 0.0,
        "real": True, "phases": {"import": 1.0}, **more,
    }  # fmt: skip


def test_every_step_is_judged_by_its_own_targets() -> None:
    found = claims(
        [
            row("naive", "local", 1.99),
            row("forkserver", "imported", 0.1, difference=1e-7),
            row("glowplug", "local", 1.14),
            row("glowplug", "imported", 0.1),
            row("glowplug", "staged", 0.04),
            row("glowplug", "parked", 0.002, private_bytes=15e6),
        ]
    )
    assert {each.name: each.holds for each in found} == {
        "minilm local: overhead above the imports_s": True,
        "minilm imported: overhead_s": True,
        "minilm imported: overhead / forkserver's": True,
        "minilm imported: times naive": True,
        "minilm staged: overhead_s": True,
        "minilm staged: forkserver's overhead / ours": True,
        "minilm staged: times naive": True,
        "minilm parked: overhead_s": True,
        "minilm parked: times naive": True,
        "minilm parked: private_bytes": True,
        "answers: difference from a plain forward": True,
        "baselines' answers: difference from a plain forward": True,
    }


def test_a_wrong_answer_breaks_a_claim() -> None:
    found = claims([row("glowplug", "staged", 0.04, difference=1e-9)])
    assert not {each.name: each.holds for each in found}["answers: difference from a plain forward"]


def test_claims_without_their_rows_are_not_made() -> None:
    assert claims([row("naive", "local", 2.0)])[0].name.startswith("baselines")


def test_models_whose_page_cache_is_cold_have_a_bound_of_their_own() -> None:
    cold = row("glowplug", "staged", 0.05, latency_s=0.2, model="resnet50", cache="cold", real=False)
    assert [each.holds for each in claims([cold])] == [True, True]
