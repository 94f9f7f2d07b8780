"""Commands about functions as a whole: deploy, ps, describe, scale, rollback, undeploy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from glowplug.cli.numbers import Natural, Whole
from glowplug.cli.output import console, plain_table, print_json
from glowplug.client import Client
from glowplug.core.errors import InvalidArguments, UserError
from glowplug.core.specs import MOST_COPIES
from glowplug.core.status import DeviceStatus, FunctionStatus, HeldStatus, NodeStatus
from glowplug.core.units import show_bytes, show_seconds

Url = Annotated[
    str | None, Parameter(name="--url", help="The server; default $GLOWPLUG_URL, else localhost:8000.")
]
_UNBOUNDED = 1_000_000
Seed = Natural
Json = Annotated[bool, Parameter(name="--json", help="Print JSON.", negative="")]


def deploy(
    *files: Path,
    url: Url = None,
    wait: bool = True,
    env: Annotated[list[str] | None, Parameter(help="NAME=VALUE, for every function in FILES.")] = None,
    json: Json = False,
) -> None:
    """Deploy every function that FILES declare.

    For example:

        glowplug deploy app.py
        glowplug deploy app.py --env COLOUR=green --no-wait --json
    """
    from glowplug.cli.deploying import deploy_files

    if not files:
        raise UserError("name the files that declare functions: glowplug deploy app.py")
    for pair in env or []:
        if "=" not in pair:
            raise InvalidArguments(f"--env {pair!r}: write NAME=VALUE", "env")
    variables = dict(pair.partition("=")[::2] for pair in env or [])
    options = {"envVars": variables} if variables else {}
    found = deploy_files(url, None, list(files), wait=wait, quiet=json, options=options)
    if json:
        print_json(found)
    else:
        print_table(found)


def ps(*, steps: bool = False, url: Url = None, json: Json = False) -> None:
    """List functions: where each stands on the readiness ladder, and what it holds.

    For example:

        glowplug ps
        glowplug ps --steps                            # what each holds at each step, by node
        glowplug ps --json | jq '.[].step'

    Parameters
    ----------
    steps
        What each function holds at each step of the ladder, by node; what was loaded ahead is marked.
    """
    with Client(url) as client:
        found = client.functions()
        info = client.info()
        devices = client.devices()
    if json:
        print_json(found)
        return
    if not found:
        console.print("nothing is deployed; try: glowplug deploy app.py")
        return
    if steps:
        console.print(_steps_table(found))
    else:
        print_table(found)
    for node in info["nodes"]:
        console.print(node_line(msgspec.convert(node, NodeStatus)), style="dim", highlight=False)
    preload = info.get("preload")
    if preload is not None and (preload["started"] or preload["policy"] != "none"):
        console.print(preload_line(preload), style="dim", highlight=False)
    for device in devices:
        console.print(device_line(device), style="dim", highlight=False)


def preload_line(found: dict[str, Any]) -> str:
    return (
        f"loaded ahead ({found['policy']}): {found['started']} workers, {found['used']} used, "
        f"{found['wasted']} wasted, {found['failed']} failed, {found['unused']} ready, "
        f"{found['climbing']} climbing; {show_seconds(found['seconds'])} of climbing"
    )


def node_line(node: NodeStatus) -> str:
    reserved, budget = show_bytes(node.reserved_bytes), show_bytes(node.budget_bytes)
    words = f"node {node.node}: {reserved} of {budget} reserved"
    if node.budget_bytes >= node.granted_bytes:
        return words
    return f"{words}; others on the machine need the rest of its {show_bytes(node.granted_bytes)}"


def device_line(device: DeviceStatus) -> str:
    used, capacity = show_bytes(device.used_bytes), show_bytes(device.capacity_bytes)
    return (
        f"device {device.device}: {used} of {capacity}, {len(device.residents)} models, {device.queued} wait"
    )


def describe(function: str, *, url: Url = None, json: Json = False) -> None:
    """Show one function: endpoints, versions, instances, and how far it can climb.

    For example:

        glowplug describe embedder
    """
    with Client(url) as client:
        found = client.describe(function)
    if json:
        print_json(found)
        return
    console.print(
        f"[bold]{found.name}.{found.namespace}[/] ({found.kind}), version {found.version}, {found.state}"
    )
    console.print(f"  stands at {found.step}, can climb to {found.highest_step}", highlight=False)
    workers = "1 worker" if found.max_workers == 1 else f"{found.max_workers} workers"
    if found.device != "cpu":
        most = "as many as pay off" if found.max_workers >= MOST_COPIES else f"at most {found.max_workers}"
        held = show_bytes(found.device_bytes)
        console.print(f"  on devices, copies: {most}; it holds {held} of them", highlight=False)
        workers = "one worker a copy"
    console.print(
        f"  {found.priority}, {found.min_workers} to {workers}, {found.target_concurrency} at once in each",
        highlight=False,
    )
    packages = f", packages {found.packages} (see `glowplug env list`)" if found.packages else ""
    console.print(f"  environment {found.environment}{packages}", style="dim", markup=False, highlight=False)
    for label, text in (("now", found.phase), ("why", found.reason), ("error", found.error)):
        if text:
            console.print(f"  {label}: {text}", style="yellow", markup=False, highlight=False)
    for endpoint in found.endpoints:
        arguments = ", ".join(
            f"{p.name}: {p.type}" + ("" if p.required else " = ...") for p in endpoint.parameters
        )
        console.print(f"  {endpoint.name}({arguments}) -> {endpoint.returns}", markup=False, highlight=False)
    for instance in found.instances:
        held = show_bytes(instance.held_bytes)
        console.print(f"  instance {instance.instance}: {instance.step}, {held}", highlight=False)
    console.print(f"  versions kept: {', '.join(found.versions)}", style="dim", highlight=False)


def scale(function: str, replicas: Whole, *, url: Url = None) -> None:
    """Keep REPLICAS workers of a function parked; 0 sends it to rest now.

    That goes before its min_workers, until the server is started again or the function is undeployed.

    For example:

        glowplug scale embedder 2
        glowplug scale embedder 0
    """
    with Client(url) as client:
        client.scale(function, replicas)


def rollback(function: str, version: str | None = None, *, url: Url = None) -> None:
    """Go back to the version before, or to VERSION.

    For example:

        glowplug rollback embedder
        glowplug rollback embedder 3f2a9c01d4e5b678
    """
    with Client(url) as client:
        client.rollback(function, version)


def undeploy(*functions: str, url: Url = None) -> None:
    """Remove functions. Requests that run are finished first.

    For example:

        glowplug undeploy embedder classifier
    """
    if not functions:
        raise UserError("name the functions that are to go: glowplug undeploy embedder")
    with Client(url) as client:
        for function in functions:
            client.undeploy(function)


def _steps_table(found: list[FunctionStatus]) -> Table:
    table = plain_table()
    for name in ("FUNCTION", "NODE", "STEP", "COUNT", "HELD", "AHEAD", "SHARED"):
        table.add_column(name, justify="right" if name in ("COUNT", "HELD") else "left", overflow="fold")
    for f in found:
        for each in f.held or (HeldStatus("", f.step, 0, 0),):
            ahead = f"{each.preloaded} not used yet" if each.preloaded else ""
            count, held = (str(each.count), show_bytes(each.held_bytes)) if each.count else ("", "")
            shared = f"its part of {each.functions}" if each.functions > 1 else ""
            table.add_row(_shown_name(f), each.node, coloured(each.step), count, held, ahead, shared)
    return table


def _shown_name(f: FunctionStatus) -> str:
    return f.name if f.namespace == "default" else f"{f.name}.{f.namespace}"


_COLOURS = {"parked": "green", "busy": "green", "staged": "cyan", "failed": "red", "building": "yellow"}


def coloured(word: str) -> str:
    return f"[{_COLOURS[word]}]{word}[/]" if word in _COLOURS else word


_COLUMNS = ("FUNCTION", "STATE", "STEP", "WORKERS", "QUEUED", "CALLS", "HELD", "WEIGHTS", "KEEP WARM")
_NUMBERS = _COLUMNS[3:]


def print_table(found: list[FunctionStatus]) -> None:
    """A row for each function, which ends with the first line of what there is to note; on a terminal that is
    too narrow for those they come below the table."""
    notes = {_shown_name(f): _note(f).partition("\n")[0] for f in found}
    whole = _table(found, notes)
    if Measurement.get(console, console.options.update(width=_UNBOUNDED), whole).maximum <= console.width:
        console.print(whole)
        return
    console.print(_table(found, {}))
    for name, note in notes.items():
        if note:
            console.print(f"{name}: {note}", style="dim", markup=False, highlight=False)


def _note(f: FunctionStatus) -> str:
    return f.error or f.phase or (f"up to {f.highest_step}: {f.reason}" if f.reason else "")


def _table(found: list[FunctionStatus], notes: dict[str, str]) -> Table:
    table = plain_table()
    for name in (*_COLUMNS, "NOTE") if notes else _COLUMNS:
        table.add_column(name, justify="right" if name in _NUMBERS else "left", overflow="fold")
    for f in found:
        row = (
            _shown_name(f), coloured(f.state), coloured(f.step),
            str(f.availableReplicas), str(f.queued), f"{f.invocationCount:.0f}", show_bytes(f.held_bytes),
            show_bytes(f.weight_bytes), show_seconds(f.keep_warm_s),
        )  # fmt: skip
        table.add_row(*row, escape(notes[_shown_name(f)])) if notes else table.add_row(*row)
    return table
