"""`glowplug env`: what is installed for functions that require packages of their own."""

from __future__ import annotations

import cyclopts
from rich.markup import escape

from glowplug.cli.functions import Json, Url
from glowplug.cli.output import console, plain_table, print_json
from glowplug.client import Client
from glowplug.core.status import PackagesStatus
from glowplug.core.units import show_bytes, show_seconds

app = cyclopts.App(name="env", help="Show and remove packages that were installed for functions.")
_SHOWN = 4


@app.command(name="list")
def list_packages(*, url: Url = None, json: Json = False) -> None:
    """List what is installed, for whom, and what it takes on the disk.

    For example:

        glowplug env list
        glowplug env list --json | jq '.packages[].size_bytes'
    """
    with Client(url) as client:
        found = client.packages()
    if json:
        print_json(found)
        return
    if not found.packages:
        console.print("no function requires packages of its own")
        return
    table = plain_table()
    for name in ("PACKAGES", "STATE", "SIZE", "TOOK", "FUNCTIONS", "INSTALLED"):
        right = name in ("SIZE", "TOOK")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for each in found.packages:
        table.add_row(
            each.packages, each.state, show_bytes(each.size_bytes),
            show_seconds(each.took_s) if each.took_s else "",
            ", ".join(each.functions) or "[dim]none[/]", _installed(each),
        )  # fmt: skip
    console.print(table)
    console.print(f"downloads kept: {show_bytes(found.cache_bytes)}", style="dim", highlight=False)


@app.command
def prune(*, cache: bool = True, url: Url = None, json: Json = False) -> None:
    """Remove what no deployed version needs, and what was downloaded to install it.

    For example:

        glowplug env prune
        glowplug env prune --no-cache --json

    Parameters
    ----------
    cache
        Remove downloads too.
    """
    with Client(url) as client:
        found = client.prune_packages(cache=cache)
    if json:
        print_json(found)
        return
    console.print(f"removed {len(found.removed)}, {show_bytes(found.freed_bytes)} freed", highlight=False)


def _installed(each: PackagesStatus) -> str:
    names = each.installed or each.requirements
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return escape(", ".join(names[:_SHOWN]) + more)
