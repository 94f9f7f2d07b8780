"""The published table beside what its systems do here, and what its rates of pre-loading may count.

A rate alone does not say what it is of: all calls, those that found nothing kept, those that found the model
ready. The published loading times say more: what pre-loading spares of those of the same pre-warming without.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

from glowplug.bench.preloading.cells import KEPT
from glowplug.bench.preloading.published import CLASSES, PUBLISHED, Published
from glowplug.bench.result import Claim, claim

Row = dict[str, Any]
_LEAST_S = 1e-4
_BASE = "openwhisk"
_ANNOUNCED = 0.93


def beside_published(rows: Sequence[Row]) -> list[Row]:
    """A line for each cell of the published table: its figures, and ours over the seeds."""
    lines = []
    for system in PUBLISHED:
        for place, trace_class in enumerate(CLASSES):
            ours = _of(rows, system.name, trace_class)
            if ours:
                lines.append({
                    "system": system.name,
                    "trace_class": trace_class,
                    "published_mean_s": system.end_to_end_s[place],
                    "mean_s": _mean(ours, "mean_s"),
                    "published_loading_s": system.loading_s[place] if system.loading_s else None,
                    "loading_mean_s": _mean(ours, "loading_mean_s"),
                    "published_rate": system.preload_rate[place] if system.preload_rate else None,
                    "preload_rate": _mean(ours, "preload_rate"),
                })  # fmt: skip
    return lines


def by_definition(rows: Sequence[Row]) -> list[Row]:
    """A line for each cell with pre-loading: what the rate is by each way to count it; `spared` is
    the share of loading that is spared beside the same pre-warming without."""
    lines = []
    for name in dict.fromkeys(row["system"] for row in rows if row["preload"] != "none"):
        plain_name = name.removesuffix(KEPT)
        published = next((each for each in PUBLISHED if each.name == plain_name), None)
        for place, trace_class in enumerate(CLASSES):
            ours = _of(rows, name, trace_class)
            if not ours or published is None:
                continue
            without = _of(rows, _without(published).name, trace_class)
            rate, late, kept = (_mean(ours, key) for key in ("preload_rate", "late_share", "kept_share"))
            lines.append({
                "system": name,
                "trace_class": trace_class,
                "published_rate": published.preload_rate[place] if published.preload_rate else None,
                "of_all": rate,
                "of_all_in_time": rate - late,
                "of_what_is_not_kept": _mean(ours, "unkept_rate"),
                "found_loaded": kept + rate - late,
                "published_spared": _published_spared(published, place),
                "spared": 1 - _mean(ours, "loading_mean_s") / _mean(without, "loading_mean_s"),
            })  # fmt: skip
    return lines


def claims(rows: Sequence[Row]) -> list[Claim]:
    """The paper's 93 %, of whichever tyche loads least: against a fixed keep-alive that loads at every
    call, and one that keeps models."""
    found = []
    tyche = [row for row in rows if row["preload"] == "tyche" and row["trace_class"] == CLASSES[0]]
    names = [name for name in dict.fromkeys(row["system"] for row in tyche) if not name.endswith(KEPT)]
    best = min((_of(tyche, name, CLASSES[0]) for name in names), key=_waits_s, default=[])
    for base, words in ((_BASE, "that loads at every call"), (f"{_BASE}{KEPT}", "that keeps models loaded")):
        theirs = _of(rows, base, CLASSES[0])
        if best and theirs:
            spared = 1 - _waits_s(best) / max(_LEAST_S, _waits_s(theirs))
            name = f"{CLASSES[0]}: {best[0]['system']} below fixed keep-alive {words}"
            found.append(claim(name, spared, "at least", _ANNOUNCED))
    return found


def _of(rows: Sequence[Row], system: str, trace_class: str) -> list[Row]:
    return [row for row in rows if (row["system"], row["trace_class"]) == (system, trace_class)]


def _waits_s(rows: Sequence[Row]) -> float:
    return _mean(rows, "loading_mean_s")


def _mean(rows: Sequence[Row], key: str) -> float:
    return float(mean(row[key] for row in rows))


def _without(system: Published) -> Published:
    """The same pre-warming without pre-loading."""
    return next(each for each in PUBLISHED if each.preload == "none" and each.prewarm == system.prewarm)


def _published_spared(system: Published, place: int) -> float | None:
    before_s = _without(system).loading_s
    if system.loading_s is None or before_s is None:
        return None
    return 1 - system.loading_s[place] / before_s[place]
