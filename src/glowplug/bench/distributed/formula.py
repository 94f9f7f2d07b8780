"""`distributed`, part `formula`: the paper's cost formula over its 32 published runs."""

from __future__ import annotations

from typing import Any

from glowplug.bench.distributed.options import Options, Tell
from glowplug.bench.distributed.schemes import PUBLISHED_LAYERS
from glowplug.bench.result import Claim, claim
from glowplug.distributed.prices import price_table
from glowplug.distributed.published import paper_usd, published_runs

EXACT = 1e-9


def run(options: Options, tell: Tell) -> tuple[list[dict[str, Any]], list[Claim], list[str]]:
    """A row for each published run; every total comes out as it was published."""
    prices = price_table().prices()
    rows: list[dict[str, Any]] = []
    off = []
    for each in published_runs():
        usd = paper_usd(each, prices)
        off.append(abs(usd / each.total_cost_usd - 1))
        rows.append(
            {
                "part": "formula",
                "system": "published, random rows" if each.random_partition else "published",
                "plan": "rows",
                "channel": each.channel,
                "neurons": each.neurons,
                "layers": PUBLISHED_LAYERS,
                "workers": each.workers,
                "seed": None,
                "total_s": each.lambda_runtime_total_s / each.workers,
                "usd": each.total_cost_usd,
                "bytes_sent": each.bytes_sent,
                "rows_sent": None,
                "predicted_s": None,
                "predicted_usd": usd,
                "delay_model": None,
                "equal": None,
                "simulated": False,
            }
        )
    return (
        rows,
        [claim("formula: worst relative error of 32 published totals", max(off), "at most", EXACT)],
        [],
    )
