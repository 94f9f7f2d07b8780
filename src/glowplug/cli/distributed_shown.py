"""What `glowplug distributed run` prints of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from glowplug.cli.output import console
from glowplug.core.units import show_bytes, show_seconds

if TYPE_CHECKING:
    from glowplug.distributed.network import Network
    from glowplug.distributed.runner import Run

_PHASES = ("load", "compute", "wait", "send", "encode", "decode", "gather")


def is_equal(network: Network, inputs: Any, found: Run) -> bool:
    import numpy as np

    from glowplug.distributed.workload.serial import serial

    expected = serial(network, inputs)
    if found.output.ndim == 1:
        return bool(np.array_equal(found.output, expected.any(axis=0)))
    return bool(np.array_equal(found.output, expected))


def _categories(found: Run) -> int:
    alive = found.output if found.output.ndim == 1 else found.output.any(axis=0)
    return int(alive.sum())


def summary(found: Run, equal: bool | None) -> dict[str, Any]:
    return {
        "seconds": found.seconds,
        "gib_s": found.gib_s,
        "invocations": found.invocations,
        "rows_sent": found.rows_sent,
        "restarts": found.restarts,
        "epochs": found.epochs,
        "categories": _categories(found),
        "equal": equal,
        "meter": found.meter,
        "workers": found.workers,
    }


def show(found: Run, equal: bool | None) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("WORKER", *(phase.upper() for phase in _PHASES), "LAYER", "OVERHEAD", "SENT", "PEAK"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in found.workers:
        seconds = each.phases.seconds
        phases = (seconds.get(phase, seconds.get(f"{phase} behind", 0.0)) for phase in _PHASES)
        table.add_row(
            str(each.place.worker), *map(show_seconds, phases), show_seconds(each.phases.layer_s),
            show_seconds(each.phases.overhead_s), show_bytes(each.meter.message_bytes_sent),
            show_bytes(each.peak_bytes),
        )  # fmt: skip
    console.print(table)
    words = [
        f"{show_seconds(found.seconds)}",
        f"{found.gib_s:.3g} GiB s in {found.invocations} invocations",
        f"{found.meter.messages_sent} messages, {show_bytes(found.meter.message_bytes_sent)}",
        f"{found.rows_sent} rows",
        f"{_categories(found)} categories",
    ]
    if found.restarts:
        words.append(f"{found.restarts} restarts")
    if equal is not None:
        words.append("[green]equal to one worker[/]" if equal else "[red]NOT equal to one worker[/]")
    console.print(", ".join(words), highlight=False)
