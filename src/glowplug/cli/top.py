"""`glowplug top`: what every function does at this moment, drawn again and again."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from glowplug.cli.devices import models_on
from glowplug.cli.functions import Json, Url, coloured, device_line, node_line
from glowplug.cli.output import console, print_json, print_json_line
from glowplug.cli.rates import Picture, Row, picture
from glowplug.client import Client
from glowplug.core.errors import InvalidArguments, Unavailable
from glowplug.core.status import Load
from glowplug.core.units import parse_seconds, show_bytes, show_seconds

Sort = Literal["rate", "queue", "p99", "memory", "cold", "name"]
_CHROME_LINES = 4
_DEVICES_SHOWN = 16
_SHORTEST_S = 0.1
_WIDE = 140
"""Columns of a terminal from which on everything is shown."""


def top(
    name: str = "",
    *,
    once: bool = False,
    interval: str = "1s",
    sort: Sort = "rate",
    url: Url = None,
    json: Annotated[
        Json, Parameter(help="Print JSON: one document with --once, else a line for each interval.")
    ] = False,
) -> None:
    """Watch functions: step, workers, requests a second, times, queue, memory, last cold start.

    Ctrl-C ends it.

    For example:

        glowplug top
        glowplug top embed --sort p99
        glowplug top --once --json | jq '.functions[] | {function, rate}'

    Parameters
    ----------
    name
        Only functions whose name contains this.
    once
        Look for one interval, print, and end.
    interval
        How long one look lasts.
    sort
        The functions with the most of this come first.
    """
    interval_s = parse_seconds(interval, "--interval")
    if interval_s < _SHORTEST_S:
        raise InvalidArguments(f"--interval: at least {_SHORTEST_S:g} s", "interval")
    try:
        with Client(url) as client:
            if once:
                found = _look(client, client.load(), interval_s, name, sort)[1]
                if json:
                    print_json(found)
                else:
                    console.print(_drawn(found, len(found.functions), console.width))
            elif json:
                _lines(client, interval_s, name, sort)
            else:
                _watch(client, interval_s, name, sort)
    except KeyboardInterrupt:
        return


def _look(client: Client, before: Load, interval_s: float, name: str, sort: Sort) -> tuple[Load, Picture]:
    time.sleep(interval_s)
    after = client.load()
    return after, picture(before, after, name, sort)


def _lines(client: Client, interval_s: float, name: str, sort: Sort) -> None:
    before = client.load()
    while True:
        before, found = _look(client, before, interval_s, name, sort)
        print_json_line(found)


def _watch(client: Client, interval_s: float, name: str, sort: Sort) -> None:
    """A server that does not answer for a while is waited for, once it has answered."""
    before = client.load()
    first = picture(before, before, name, sort)
    shown: RenderableType = _drawn(first, _room(first), console.width)
    with Live(shown, console=console, screen=console.is_terminal, auto_refresh=False) as live:
        live.refresh()
        while True:
            try:
                before, found = _look(client, before, interval_s, name, sort)
                shown = _drawn(found, _room(found), console.width)
                live.update(shown, refresh=True)
            except Unavailable as error:
                live.update(Group(shown, Text(error.message, style="red")), refresh=True)


def _room(found: Picture) -> int:
    return max(1, console.height - _CHROME_LINES - min(len(found.devices), _DEVICES_SHOWN))


def _drawn(found: Picture, rows: int, width: int) -> RenderableType:
    is_wide = width >= _WIDE
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    table.add_column("FUNCTION", overflow="ellipsis", no_wrap=True, min_width=14)
    table.add_column("STEP")
    for heading in ("WORKERS", "REQ/S", "P50", "P99", "QUEUE", "HELD", "COLD"):
        table.add_column(heading, justify="right", no_wrap=True)
    if is_wide:
        table.add_column("FROM, AGO", no_wrap=True)
        table.add_column("FAIL/S", justify="right", no_wrap=True)
    shown = found.functions[:rows]
    for row in shown:
        table.add_row(*_cells(row), *(_more_cells(row) if is_wide else ()))
    parts: list[RenderableType] = [_headline(found), table]
    if len(shown) < len(found.functions):
        parts.append(Text(f"and {len(found.functions) - len(shown)} more", style="dim"))
    parts += [
        Text(f"{device_line(device)}: {models_on(device)}", style="dim", no_wrap=True)
        for device in found.devices[:_DEVICES_SHOWN]
    ]
    return Group(*parts)


def _headline(found: Picture) -> Text:
    rate = sum(row.rate for row in found.functions)
    queued = sum(row.queued for row in found.functions)
    words = [f"{len(found.functions)} functions", f"{rate:.0f} req/s", f"{queued} queued"]
    if found.gateways > 1:
        words.append(f"{found.gateways} gateways")
    return Text("   ".join([*words, *map(node_line, found.nodes)]), style="dim")


def _cells(row: Row) -> tuple[str, ...]:
    """`WORKERS` are busy / parked, and those that climb behind a plus."""
    workers = f"{row.busy}/{row.parked}" + (f"+{row.climbing}" if row.climbing else "")
    return (
        row.function, coloured(row.state if row.state != "ready" else row.step), workers,
        f"{row.rate:.1f}" if row.rate else "-", _time(row.p50_s), _time(row.p99_s),
        str(row.queued) if row.queued else "-", show_bytes(row.held_bytes),
        _time(row.last_cold.total_s if row.last_cold else None),
    )  # fmt: skip


def _more_cells(row: Row) -> tuple[str, ...]:
    cold = "" if row.last_cold is None else f"{row.last_cold.origin}, {_ago(row.cold_ago_s or 0.0)}"
    return cold, f"[red]{row.failing:.1f}[/]" if row.failing else "-"


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else show_seconds(seconds)


def _ago(seconds: float) -> str:
    for unit_s, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f}{unit}"
    return f"{seconds:.0f}s"
