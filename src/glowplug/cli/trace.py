"""`glowplug trace`: where a request's time went, in the terminal and for Perfetto."""

from __future__ import annotations

from pathlib import Path

import msgspec

from glowplug.cli.functions import Json, Url
from glowplug.cli.numbers import Whole
from glowplug.cli.output import console, plain_table, print_json
from glowplug.cli.timeline import perfetto, timeline
from glowplug.client import Client
from glowplug.core.errors import GlowplugError
from glowplug.core.status import RequestTrace
from glowplug.core.units import show_seconds


def trace(
    request: Whole | None = None,
    *,
    function: str | None = None,
    last: Whole = 10,
    out: Path | None = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Show REQUEST phase by phase, or the last requests when none is named.

    For example:

        glowplug trace
        glowplug trace --function embedder --last 3
        glowplug trace 12345678901 --out trace.json    # open it at ui.perfetto.dev

    Parameters
    ----------
    request
        The number in the answer's X-Glowplug-Request header.
    function
        Only requests of this function.
    last
        How many of the last requests to show.
    out
        Write a trace file that Perfetto and Chrome load.
    """
    with Client(url) as client:
        found = [client.trace(request)] if request is not None else client.traces(function, last)
    if out is not None:
        try:
            out.write_bytes(msgspec.json.encode(perfetto(found)))
        except OSError as error:
            raise GlowplugError(f"cannot write {out}: {error}") from error
    if json:
        print_json(found)
    elif not found:
        console.print("no request was answered yet")
    elif len(found) == 1:
        _show_one(found[0])
    else:
        _show_many(found)


def _show_one(trace: RequestTrace) -> None:
    where = f"{trace.function}/{trace.endpoint}" if trace.endpoint else trace.function
    console.print(
        f"[bold]{where}[/] request {trace.request}: {trace.status}, from {trace.origin or 'nowhere'}"
    )
    console.print(timeline(show_seconds(trace.total_s), trace.phases))


def _show_many(traces: list[RequestTrace]) -> None:
    table = plain_table()
    for name in ("REQUEST", "FUNCTION", "STATUS", "FROM", "TOTAL", "PHASES"):
        table.add_column(name, justify="right" if name in ("STATUS", "TOTAL") else "left")
    for t in traces:
        phases = ", ".join(f"{name} {show_seconds(s)}" for name, s in t.phases.items() if s >= 5e-5)
        table.add_row(str(t.request), t.function, str(t.status), t.origin, show_seconds(t.total_s), phases)
    console.print(table)
