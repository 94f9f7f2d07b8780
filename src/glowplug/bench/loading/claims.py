"""What `loading` must show, checked against its rows. A claim whose rows were not run is not made."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Any

from glowplug.bench.result import Claim, claim

Row = dict[str, Any]

HEADLINE = {"pisel": 0.40, "pisel+noinit": 0.20}
WARM = {"pisel": 0.75, "pisel+noinit": 0.45, "cicada": 0.15}
WARM_ABOVE_FORWARD_S = 0.030
WARM_UP_TO_BYTES = 600e6
FLOOR_SHARE = {0.25e9: 0.05, 1.25e9: 0.05, 4e9: 0.10}
BEHIND_SHARE, BEHIND_S = 0.05, 0.005
EXTRA_BYTES = 64e6
BESIDE_ONE, BESIDE_SEVEN, LEFT_OVER = 1.15, 1.3, 0.8
PEER_SHARE, PEER_S, PEER_COLD = 0.03, 0.005, 1.2
PAPERS_BYTES_S = 1.25e9


def claims(rows: list[Row]) -> list[Claim]:
    """Every claim that these rows can decide."""
    loads = [
        row for row in rows if row.get("batch") == 1 and row.get("threads", 1) > 1 and not row.get("peer")
    ]
    store = _by_model(
        row for row in loads if row["source"] == "store" and row["bandwidth_bytes_s"] == PAPERS_BYTES_S
    )
    cold = _by_model(row for row in loads if (row["source"], row["cache"]) == ("disk", "cold"))
    warm = _by_model(row for row in loads if (row["source"], row["cache"]) == ("disk", "warm"))
    found: list[Claim] = []
    for regime, cells, ours in (("1.25 GB/s store", store, "streamed"), ("cold disk", cold, "mapped")):
        for baseline, share in HEADLINE.items():
            found += _less(f"{regime}: auto's time below {baseline}'s", cells, ours, baseline, share)
    for baseline, share in WARM.items():
        found += _less(f"warm: mapped's time below {baseline}'s", warm, "mapped", baseline, share)
    found += _above_forward(warm)
    found += _floors(loads)
    for regime, cells, ours in (
        ("1.25 GB/s store", store, "streamed"), ("cold disk", cold, "mapped"), ("warm", warm, "mapped"),
    ):  # fmt: skip
        found += _behind_the_best(regime, cells, ours)
    found += _extra(rows) + _scheduler(rows) + _sharing(rows) + _peers(rows)
    return found + equality(rows)


def equality(rows: list[Row]) -> list[Claim]:
    """The claim about answers alone."""
    wrong = sum(not row["equal"] for row in rows if "equal" in row and not row.get("peer"))
    return [claim("cells whose answer is not the plain forward's, bit for bit", wrong, "at most", 0)]


def ablation(rows: list[Row]) -> list[str]:
    """A line per regime: how much less time than PISeL each part of Cicada takes, and the utilisations."""
    lines = []
    for source, cache in (("store", "-"), ("disk", "cold"), ("disk", "warm")):
        cells = _by_model(
            row for row in rows
            if (row["source"], row["cache"]) == (source, cache) and "utilisation_union" in row
        )  # fmt: skip
        if not cells:
            continue
        shown = []
        for system in ("mini", "decoupled", "cicada-unscheduled", "cicada", "streamed", "mapped"):
            less = _reductions(cells, system, "pisel")
            if less:
                busy = _mean(cells, system, "utilisation_union"), _mean(cells, system, "utilisation_compute")
                shown.append(f"{system} {statistics.mean(less):.1%} (busy {busy[0]:.2f} / {busy[1]:.2f})")
        base = _mean(cells, "pisel", "utilisation_union"), _mean(cells, "pisel", "utilisation_compute")
        lines.append(f"{source} {cache}: {', '.join(shown)}; pisel busy {base[0]:.2f} / {base[1]:.2f}")
    return lines


def _by_model(rows: Iterable[Row]) -> dict[str, dict[str, Row]]:
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        if not row.get("peer") and "scheduler" not in row and "processes" not in row:
            found.setdefault(row["model"], {})[row["system"]] = row
    return found


def _mean(cells: dict[str, dict[str, Row]], system: str, field: str) -> float:
    values: list[float] = [one[system][field] for one in cells.values() if system in one]
    return statistics.mean(values or [0.0])


def _reductions(cells: dict[str, dict[str, Row]], ours: str, baseline: str) -> list[float]:
    return [
        1 - systems[ours]["first_answer_s"] / systems[baseline]["first_answer_s"]
        for systems in cells.values()
        if ours in systems and baseline in systems
    ]


def _less(name: str, cells: dict[str, dict[str, Row]], ours: str, baseline: str, share: float) -> list[Claim]:
    found = _reductions(cells, ours, baseline)
    return [claim(f"{name}, mean over models", statistics.mean(found), "at least", share)] if found else []


def _above_forward(warm: dict[str, dict[str, Row]]) -> list[Claim]:
    above = [
        row["first_answer_s"] - row["warm_forward_s"]
        for systems in warm.values()
        if (row := systems.get("mapped")) is not None and row["weights_bytes"] <= WARM_UP_TO_BYTES
    ]
    name = "warm: mapped above the second forward, worst model up to 600 MB_s"
    return [claim(name, max(above), "at most", WARM_ABOVE_FORWARD_S)] if above else []


def _floors(loads: list[Row]) -> list[Claim]:
    found = []
    for bandwidth, share in FLOOR_SHARE.items():
        rows = [
            row
            for row in loads
            if (row["source"], row["bandwidth_bytes_s"], row["system"]) == ("store", bandwidth, "streamed")
        ]
        if rows:
            worst = max(_beyond(row["first_answer_s"], row["floor_s"], BEHIND_S) for row in rows)
            name = (
                f"{bandwidth / 1e9:g} GB/s store: auto above the floor by more than 5 ms, worst model's share"
            )
            found.append(claim(name, worst, "at most", share))
    return found


def _behind_the_best(regime: str, cells: dict[str, dict[str, Row]], ours: str) -> list[Claim]:
    worst = [
        _beyond(
            systems[ours]["first_answer_s"], min(row["first_answer_s"] for row in systems.values()), BEHIND_S
        )
        for systems in cells.values()
        if ours in systems
    ]
    name = f"{regime}: auto behind the best strategy by more than 5 ms, worst model's share"
    return [claim(name, max(worst), "at most", BEHIND_SHARE)] if worst else []


def _beyond(value_s: float, reference_s: float, slack_s: float) -> float:
    """By what share `value_s` exceeds the reference; 0 when by no more than the slack."""
    return 0.0 if value_s <= reference_s + slack_s else value_s / reference_s - 1


def _extra(rows: list[Row]) -> list[Claim]:
    found = []
    for system in ("mapped", "streamed", "cicada"):
        extra = [row["extra_bytes"] for row in rows if row["system"] == system and "extra_bytes" in row]
        if extra:
            found.append(
                claim(
                    f"{system}: memory above the model's own, worst_bytes", max(extra), "at most", EXTRA_BYTES
                )
            )
    return found


def _scheduler(rows: list[Row]) -> list[Claim]:
    found = []
    for model in dict.fromkeys(row["model"] for row in rows if "scheduler" in row):
        for kind, most, name in (
            ("batch", BESIDE_ONE, "beside one of the next class"),
            ("background", BESIDE_SEVEN, "beside seven of the lowest"),
        ):
            by_mode = {
                row["scheduler"]: row
                for row in rows
                if "scheduler" in row and (row["model"], row["beside_class"]) == (model, kind)
            }
            if {"alone", "on"} <= by_mode.keys():
                times = by_mode["on"]["first_answer_s"] / by_mode["alone"]["first_answer_s"]
                found.append(claim(f"{model} {name}: times its latency alone", times, "at most", most))
            if kind == "background" and "on" in by_mode:
                share = by_mode["on"]["left_over_share"]
                found.append(
                    claim(
                        f"the seven beside {model}: share of what was left over", share, "at least", LEFT_OVER
                    )
                )
    return found


def _sharing(rows: list[Row]) -> list[Claim]:
    return [
        claim(
            f"{row['processes']} processes with {row['model']}: copies of the weights",
            (row["pss_bytes"] + row["private_bytes"]) / row["weights_bytes"], "at most", 1.05,
        )
        for row in rows
        if "processes" in row
    ]  # fmt: skip


def _peers(rows: list[Row]) -> list[Claim]:
    """Ours beside each peer is measured with it, so that both met the same minute."""
    found = []
    cells: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        if row.get("peer"):
            cells.setdefault((row["model"], row["source"], row["cache"]), {})[row["system"]] = row
    warm = _compare(cells, ("disk", "warm"), lambda ours, best: _beyond(ours, best, PEER_S))
    if warm:
        name = "warm: auto behind the best peer by more than 5 ms, worst model's share"
        found.append(claim(name, max(warm), "at most", PEER_SHARE))
    for source, cache, name in (("disk", "cold", "cold disk"), ("s3", "-", "S3 server")):
        ahead = _compare(cells, (source, cache), lambda ours, best: best / ours)
        if ahead:
            found.append(
                claim(
                    f"{name}: best peer's time / auto's, mean over models",
                    statistics.mean(ahead),
                    "at least",
                    PEER_COLD,
                )
            )
    return found


def _compare(
    cells: dict[tuple[str, str, str], dict[str, Row]],
    where: tuple[str, str],
    how: Callable[[float, float], float],
) -> list[float]:
    found = []
    for (_, source, cache), systems in cells.items():
        peers = [row["first_answer_s"] for name, row in systems.items() if name != "auto"]
        if (source, cache) == where and "auto" in systems and peers:
            found.append(how(systems["auto"]["first_answer_s"], min(peers)))
    return found
