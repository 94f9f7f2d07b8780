"""What `preloading` has to show, from its rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np

from glowplug.bench.pairs import PairedRatio, paired_ratio
from glowplug.bench.preloading import table
from glowplug.bench.preloading.cells import APART, CALLED_ONLY, KEPT
from glowplug.bench.result import Claim, claim

Row = dict[str, Any]
MIX_TARGETS = {0.05: 1.2, 0.1: 2.0, 0.25: 1.3, 0.5: 1.6}
HOUR_TARGETS = {0.1: 1.15, 0.25: 2.2, 0.5: 3.5}
_LEAST_S = 1e-4
_LEAST_BYTE_S = 1e9
"""Less is as good as nothing: a small model for some seconds."""
_LITTLE = 0.1
"""Shares of memory up to which zygotes are compared with processes."""


def claims(rows: Sequence[Row]) -> list[Claim]:
    found = table.claims([row for row in rows if row["part"] == "table"])
    for part, targets in (("mix", MIX_TARGETS), ("hour", HOUR_TARGETS), ("jitter", {0.1: 1.4})):
        for share, target in targets.items():
            here = [row for row in rows if row["part"] == part and row["memory_share"] == share]
            if not here:
                continue
            best = best_fixed([row for row in rows if row["part"] == part])
            found.append(_ratio_claim(f"{part}, {share:.0%} of memory", here, best, "ladder", target))
            found += _bound(f"{part}, {share:.0%} of memory", here)
    found += _never_worse([row for row in rows if row["part"] in ("mix", "hour", "jitter")])
    found += _equal_cpu([row for row in rows if row["part"] == "cpu"])
    for part in ("mix", "hour", "zygote"):
        found += _wasted(part, [row for row in rows if row["part"] == part])
    found += _zygote([row for row in rows if row["part"] == "zygote"], 0.97, {0.05: 1.4, 0.1: 1.4}, "")
    found += _zygote([row for row in rows if row["part"] == "shared"], 0.99, {}, ", weights shared")
    found += _plain([row for row in rows if row["part"] == "plain"])
    found += _nodes([row for row in rows if row["part"] == "nodes"])
    found += _wide([row for row in rows if row["part"] == "wide"])
    return found


def best_fixed(rows: Iterable[Row]) -> str:
    """The system that is best over all cells, ladder's own and the bound left out: by its mean of ratios to
    each cell's best."""
    by_cell: dict[tuple[Any, ...], dict[str, float]] = {}
    for row in rows:
        if row["eviction"] != "ladder" and not row["overloaded"]:
            cell = by_cell.setdefault((row["memory_share"], row["seed"]), {})
            cell[row["system"]] = max(row["loading_mean_s"], _LEAST_S)
    scores: dict[str, list[float]] = {}
    for cell in by_cell.values():
        for system, value in cell.items():
            scores.setdefault(system, []).append(value / min(cell.values()))
    return min(scores, key=lambda system: mean(scores[system])) if scores else "fixed"


def paired(rows: Sequence[Row], rival: str, ours: str) -> PairedRatio:
    """rival / ours in mean loading latency, over the seeds that both have."""
    by_seed: dict[int, dict[str, float]] = {}
    for row in rows:
        by_seed.setdefault(row["seed"], {})[row["system"]] = max(row["loading_mean_s"], _LEAST_S)
    both = [each for each in by_seed.values() if rival in each and ours in each]
    return paired_ratio([each[rival] for each in both], [each[ours] for each in both])


def _ratio_claim(what: str, rows: Sequence[Row], rival: str, ours: str, target: float) -> Claim:
    found = paired(rows, rival, ours)
    name = f"{what}: {rival} / {ours} (95 %: {found.low:.2f} .. {found.high:.2f})"
    if found.pairs == 1:
        name = f"{what}: {rival} / {ours} (one seed)"
    return claim(name, found.ratio, "at least", target)


def _bound(what: str, rows: Sequence[Row]) -> list[Claim]:
    """A policy that knows the trace is no worse than one that does not."""
    if not any(row["system"] == "clairvoyant" for row in rows):
        return []
    return [_ratio_claim(what, rows, "ladder", "clairvoyant", 1.0)]


def _never_worse(rows: Sequence[Row]) -> list[Claim]:
    """Cells, seeds together, in which ladder waits longer than the best rival by over 5 %: so that even the
    upper end of the paired interval of rival / ladder says so, and by the ratio alone. Of three seeds the
    interval is wide. Where the rival is in overload a cell is none; ladder's overload counts against it."""
    cells: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        cells.setdefault((row["part"], row["memory_share"]), []).append(row)
    ratios, left_out = [], 0
    for (part, _), here in cells.items():
        rival = best_fixed([row for row in rows if row["part"] == part])
        if not {rival, "ladder"} <= {row["system"] for row in here}:
            continue
        calm = [row for row in here if row["system"] == rival and not row["overloaded"]]
        left_out += not calm
        if calm:
            ratios.append(paired([*calm, *(r for r in here if r["system"] == "ladder")], rival, "ladder"))
    if not ratios:
        return []
    apart = f", {left_out} in overload left out," if left_out else ""
    name = f"cells of {len(ratios)}{apart} in which ladder waits over 5 % longer"
    sure = sum(each.high < 1 / 1.05 for each in ratios)
    plain = sum(each.ratio < 1 / 1.05 for each in ratios)
    return [
        claim(f"{name}, beyond its 95 % interval", sure, "at most", 0),
        claim(f"{name}, by the ratio alone", plain, "at most", 0),
    ]


def _equal_cpu(rows: Sequence[Row]) -> list[Claim]:
    """Ladder at the share of a core with which all loads together, those that requests waited for among them,
    take as long as the best rival's: between two shares by proportion."""
    found = []
    best = best_fixed(rows)
    for share in sorted({row["memory_share"] for row in rows}):
        here = [row for row in rows if row["memory_share"] == share]
        theirs, ours = [], []
        for seed in sorted({row["seed"] for row in here}):
            of_seed = [row for row in here if row["seed"] == seed]
            for rival in (row for row in of_seed if row["system"] == best):
                curve = [row for row in of_seed if row["eviction"] == "ladder"]
                theirs.append(max(rival["loading_mean_s"], _LEAST_S))
                ours.append(max(at_loading(curve, rival["loading_s"]), _LEAST_S))
        if theirs:
            name = f"mix, {share:.0%} of memory, equal seconds of loading: {best} / ladder"
            found.append(claim(name, paired_ratio(theirs, ours).ratio, "at least", 1.0))
    return found


def at_loading(curve: Sequence[Row], loading_s: float) -> float:
    """Mean seconds of waiting where all loads take `loading_s`; at the ends of the curve what is there."""
    points = sorted((row["loading_s"], row["loading_mean_s"]) for row in curve)
    return float(np.interp(loading_s, [x for x, _ in points], [y for _, y in points]))


def _wasted(part: str, rows: Sequence[Row]) -> list[Claim]:
    """Bytes x seconds of pre-loads that ended unused, beside whichever tyche waits less: of ladder, which
    holds in free memory what nobody has called yet, and of ladder without that, which may not wait longer
    than tyche for it either."""
    found: list[Claim] = []
    tyche = [row for row in rows if row["preload"] == "tyche"]
    best = best_fixed(tyche)
    for share in sorted({row["memory_share"] for row in tyche}):
        here = [
            row
            for row in rows
            if row["memory_share"] == share and (part != "zygote" or row["substrate"] == "zygote")
        ]
        what = f"{part}, {share:.0%} of memory"
        theirs = max(_LEAST_BYTE_S, _wasted_byte_s(here, best))
        for ours in ("ladder", CALLED_ONLY.name):
            if any(row["system"] == ours for row in here):
                ratio = _wasted_byte_s(here, ours) / theirs
                found.append(claim(f"{what}: wasted byte-seconds, {ours} / {best}", ratio, "at most", 1.0))
        if any(row["system"] == CALLED_ONLY.name for row in here):
            found.append(_ratio_claim(what, here, best, CALLED_ONLY.name, 1.0))
    return found


def _wasted_byte_s(rows: Sequence[Row], system: str) -> float:
    return sum(float(row["wasted_byte_s"]) for row in rows if row["system"] == system)


def _zygote(rows: Sequence[Row], below: float, targets: Mapping[float, float], words: str) -> list[Claim]:
    """With little memory waits on zygotes are a small part of those on processes; there and with more ladder
    is no worse than its best rival, or as much better as `targets` say."""
    found = []
    for share in sorted({row["memory_share"] for row in rows}):
        here = [row for row in rows if row["memory_share"] == share]
        pairs = (("ladder", "fixed"), ("ladder", "ladder"), ("fixed", "fixed"))
        for ours, theirs in pairs if share <= _LITTLE else ():
            process, zygote = _mean_s(here, theirs, "process"), _mean_s(here, ours, "zygote")
            name = f"{share:.0%} of memory{words}: {ours} on zygotes below {theirs} on processes"
            found.append(claim(name, 1 - zygote / process, "at least", below))
        on_zygotes = [row for row in here if row["substrate"] == "zygote"]
        best = best_fixed(on_zygotes)
        what, target = f"{share:.0%} of memory, zygotes{words}", targets.get(share, 1.0)
        found.append(_ratio_claim(what, on_zygotes, best, "ladder", target))
    return found


def _mean_s(rows: Iterable[Row], system: str, substrate: str) -> float:
    here = (row for row in rows if (row["system"], row["substrate"]) == (system, substrate))
    return mean(float(row["loading_mean_s"]) for row in here)


def _plain(rows: Sequence[Row]) -> list[Claim]:
    """Without helpers for anyone, beside rivals that keep models loaded and those that do as published."""
    found = []
    for words, keeps in (("no helpers", True), ("no helpers, rivals as published", False)):
        for trace, targets in (("mix", MIX_TARGETS), ("azure2019", HOUR_TARGETS)):
            of_trace = [
                row
                for row in rows
                if row["trace"] == trace and (row["keeps_loaded"] is keeps or row["system"] == "ladder")
            ]
            best = best_fixed(of_trace)
            for share in sorted({row["memory_share"] for row in of_trace}):
                here = [row for row in of_trace if row["memory_share"] == share]
                what = f"{'mix' if trace == 'mix' else 'hour'}, {share:.0%} of memory, {words}"
                found.append(_ratio_claim(what, here, best, "ladder", targets[share]))
    return found


def _nodes(rows: Sequence[Row]) -> list[Claim]:
    """As published, where pre-loads displace what was used last, and with what stays loaded in their way;
    one router that knows all nodes for both, and none for instainfer."""
    found = []
    for nodes, host in sorted({(row["nodes"], _host(row)) for row in rows}):
        here = [row for row in rows if (row["nodes"], _host(row)) == (nodes, host)]
        target = 1.9 if nodes == 16 else 1.0
        for kept, words in (("", "displacing"), (KEPT, "free memory only")):
            for apart in ("", *(f", {router}" for router in APART)):
                pair = f"instainfer + {host}{kept}{apart}", f"tyche + {host}{kept}"
                if set(pair) <= {row["system"] for row in here}:
                    found.append(_ratio_claim(f"{nodes} nodes, {words}", here, *pair, target))
    return found


def _host(row: Row) -> str:
    """What the policy of a row is on top of."""
    name: str = row["system"]
    return name.partition(" + ")[2].partition(",")[0]


def _wide(rows: Sequence[Row]) -> list[Claim]:
    found = []
    best = best_fixed(rows)
    for nodes, share in sorted({(row["nodes"], row["memory_share"]) for row in rows}):
        here = [row for row in rows if (row["nodes"], row["memory_share"]) == (nodes, share)]
        found.append(_ratio_claim(f"mix, {nodes} nodes, {share:.0%} of memory", here, best, "ladder", 1.0))
    return found
