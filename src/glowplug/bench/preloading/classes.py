"""How regular the functions of the mix are, before the recorded hour is stretched and after: rows of its
parts, a class before and a seed each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from glowplug.bench.preloading.cells import Cell, chosen
from glowplug.sim.workloads.gaps import changes, classes
from glowplug.sim.workloads.mix import Mix
from glowplug.sim.workloads.registry import parse
from glowplug.sim.workloads.reshape import select

COLUMNS = ("workload", "functions", "seed", "before", "count", "predictable", "normal", "bursty", "unknown")


def rows(cells: Iterable[Cell]) -> Iterator[dict[str, Any]]:
    """Of all mixes that cells play. `count` functions were of class `before`; the rest says of which class
    they are after."""
    played = {
        (cell.workload, cell.functions, cell.trace_class, cell.seed): None
        for cell in cells
        if cell.workload.startswith("mix:")
    }
    for text, functions, trace_class, seed in played:
        workload, own_seed = parse(text)
        assert isinstance(workload, Mix)
        seed_of_trace = seed if own_seed is None else own_seed
        before, after = workload.source(seed_of_trace), workload.trace(seed_of_trace)
        numbers = chosen(after, functions, trace_class, seed)
        before, after = select(before, numbers), select(after, numbers)
        counted = msgspec.structs.asdict(classes(before))
        for name, became in changes(before, after).items():
            yield {
                "part": "classes",
                "workload": "mix,jitter" if "jitter" in text else "mix",
                "functions": functions,
                "seed": seed,
                "before": name,
                "count": counted[name],
                **msgspec.structs.asdict(became),
                "simulated": False,
            }
