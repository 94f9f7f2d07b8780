"""What `glowplug distributed run` prints of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from glowplug.cli.output import console, plain_table
from glowplug.core.units import show_bytes, show_seconds

if TYPE_CHECKING:
    from glowplug.distributed.comparing import Beside, Comparison
    from glowplug.distributed.network import Network
    from glowplug.distributed.run_place import Took
    from glowplug.distributed.runner import Run

_PHASES = ("load", "compute", "wait", "send", "encode", "decode", "gather")


def is_equal(network: Network, inputs: Any, found: Run) -> bool:
    import numpy as np

    from glowplug.distributed.workload.serial import serial

    expected = serial(network, inputs)
    if found.output.ndim == 1:
        return bool(np.array_equal(found.output, (expected > 0).any(axis=0)))
    return bool(np.array_equal(found.output, expected))


def _categories(found: Run) -> int:
    alive = found.output if found.output.ndim == 1 else (found.output > 0).any(axis=0)
    return int(alive.sum())


def summary(found: Run, equal: bool | None, compared: Comparison | None) -> dict[str, Any]:
    more = {"rows_sent": found.rows_sent, "categories": _categories(found)}
    return summed_up(found, more, equal, compared)


def summed_up(
    found: Took, more: dict[str, Any], equal: bool | None, compared: Comparison | None
) -> dict[str, Any]:
    """`more` is what there is of one kind of model only."""
    return {
        "seconds": found.seconds,
        "gib_s": found.gib_s,
        "invocations": found.invocations,
        "restarts": found.restarts,
        "epochs": found.epochs,
        **more,
        "equal": equal,
        "predicted": compared,
        "meter": found.meter,
        "workers": found.workers,
    }


def show(found: Run, equal: bool | None, compared: Comparison | None) -> None:
    show_took(
        found, "LAYER", [f"{found.rows_sent} rows", f"{_categories(found)} categories"], equal, compared
    )


def show_took(
    found: Took, step: str, more: list[str], equal: bool | None, compared: Comparison | None
) -> None:
    """`step` is what a worker takes at a time."""
    table = plain_table()
    for name in ("WORKER", *(phase.upper() for phase in _PHASES), step, "OVERHEAD", "SENT", "PEAK"):
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
        *more,
    ]
    if found.restarts:
        words.append(f"{found.restarts} restarts")
    if equal is not None:
        words.append("[green]equal to one worker[/]" if equal else "[red]NOT equal to one worker[/]")
    console.print(", ".join(words), highlight=False)
    for each in (each for each in found.workers if each.note):
        console.print(f"worker {each.place.worker} {each.note}", highlight=False, markup=False)
    if compared is not None:
        console.print(_predicted(compared), highlight=False)
        for why in compared.why:
            console.print(f"not comparable: {why}", style="dim", highlight=False)


def _predicted(one: Comparison) -> str:
    """Each number, and in brackets what was metered."""
    way = one.plan if one.workers == 1 else f"{one.plan} {one.workers} {one.channel}"
    numbers = [
        _beside(one.calls, lambda calls: f"{calls:.0f} calls"),
        _beside(one.nbytes, show_bytes),
        _beside(one.seconds, show_seconds),
        _beside(one.usd, lambda usd: f"${usd:.2e}"),
    ]
    return f"predicted for {way}: {', '.join(numbers)}"


def _beside(one: Beside, shown: Callable[[float], str]) -> str:
    off = f", {one.off:+.1%}" if one.comparable and one.off is not None else ""
    metered = f"metered {shown(one.metered)}{off}"
    return (
        f"{shown(one.predicted)} ({metered})"
        if one.comparable
        else f"{shown(one.predicted)} [dim]({metered})[/]"
    )
