"""Several loads over one link, with and without the arbiter: does who matters more notice the others?"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Sequence
from typing import Any

from glowplug.bench.loading.cells import LATENCY_S, Bytes
from glowplug.bench.loading.models import Subject, answer_of
from glowplug.bench.result import spread
from glowplug.loader import Priority
from glowplug.loader.arena import Arena
from glowplug.loader.devices import device
from glowplug.loader.fetchers import Fetchers
from glowplug.loader.pipeline import Loading, begin
from glowplug.loader.sources.link import Link
from glowplug.loader.sources.memory import MemorySource
from glowplug.loader.sources.throttled import ThrottledSource
from glowplug.loader.strategies import strategy

Held = tuple[Subject, Bytes]


def scenario(
    front: Held,
    behind: Sequence[Held],
    priority: Priority,
    bandwidth_bytes_s: float,
    repeats: int,
    arena: Arena,
) -> list[dict[str, Any]]:
    """Rows: the front load alone, beside the others with the arbiter, and without.

    `first_answer_s` is the front load's; `left_over_share` how much of the bandwidth that it left the others
    used until all were there.
    """
    found: dict[str, list[tuple[float, float]]] = {"alone": [], "on": [], "off": []}
    for _ in range(repeats):
        for mode, samples in found.items():
            samples.append(
                _once(front, behind if mode != "alone" else (), priority, bandwidth_bytes_s, mode, arena)
            )
    rows = []
    for mode, samples in found.items():
        rows.append({
            "system": "streamed", "model": front[0].name, "source": "store", "cache": "-", "scheduler": mode,
            "beside": len(behind) if mode != "alone" else 0, "beside_class": priority.name.lower(),
            "bandwidth_bytes_s": bandwidth_bytes_s,
            **spread("first_answer_s", [first_s for first_s, _ in samples]),
            "left_over_share": statistics.median(share for _, share in samples),
        })  # fmt: skip
    return rows


def _once(
    front: Held, behind: Sequence[Held], priority: Priority, bandwidth_bytes_s: float, mode: str, arena: Arena
) -> tuple[float, float]:
    import torch

    link, shared = Link(bandwidth_bytes_s), Fetchers()

    def load(held: Held, kind: Priority) -> Loading:
        subject, data = held
        source = ThrottledSource(MemorySource(data.data, subject.name), link=link, latency_s=LATENCY_S)
        fetchers = shared if mode != "off" else Fetchers()
        kind = kind if mode != "off" else Priority.INTERACTIVE
        return begin(
            source, strategy("streamed"), device=device("cpu"), priority=kind, fetchers=fetchers, arena=arena
        )

    gc.collect()
    for subject, _ in (front, *behind):
        arena.prepare(subject.nbytes)
    start_s = time.perf_counter()
    others = [load(held, priority) for held in behind]  # they are on their way when the front load comes
    asked_s = time.perf_counter()
    loading = load(front, Priority.INTERACTIVE)
    with torch.inference_mode():
        answer_of(loading.model, front[0].inputs)
    first_s = time.perf_counter() - asked_s
    for other in (loading, *others):
        other.wait()
    all_s = time.perf_counter() - start_s
    left_bytes = all_s * bandwidth_bytes_s - front[0].nbytes
    share = sum(subject.nbytes for subject, _ in behind) / left_bytes if behind else 0.0
    del loading, others
    gc.collect()
    return first_s, share
