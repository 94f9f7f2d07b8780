"""`glowplug devices`: what lies on the server's devices, and drills: what if one fails?"""

from __future__ import annotations

from math import inf
from typing import Annotated, Literal

import cyclopts
from cyclopts import Parameter
from rich.table import Table

from glowplug.cli.functions import Json, Url
from glowplug.cli.numbers import Whole
from glowplug.cli.output import console, plain_table, print_json
from glowplug.client import Client
from glowplug.core.devices import Fault
from glowplug.core.errors import InvalidArguments
from glowplug.core.ids import DeviceId
from glowplug.core.status import DeviceStatus
from glowplug.core.units import show_bytes

app = cyclopts.App(name="devices", help="Show the server's devices; break one and make it whole, for drills.")


@app.command(name="ls")
def list_devices(*, url: Url = None, json: Json = False) -> None:
    """List devices: memory, the models that lie there, what runs and what waits.

    For example:

        glowplug devices ls
        glowplug devices ls --json | jq '.[].residents[].function'
    """
    with Client(url) as client:
        found = client.devices()
    if json:
        print_json(found)
    elif not found:
        console.print("the server has no devices; see: glowplug serve --help, --devices")
    else:
        console.print(device_table(found))


@app.command
def fail(
    device: str,
    how: Literal["loads", "memory", "slow", "gone"] = "gone",
    *,
    count: Annotated[Whole, Parameter(help="Of `loads`: so many of the next fail.")] = 1,
    factor: Annotated[float, Parameter(help="Of `slow`: everything takes so many times as long.")] = 10.0,
    url: Url = None,
) -> None:
    """Break DEVICE: its next loads fail, it loses its memory, it is slow, or it is gone.

    Loads and slowness are for virtual devices. `memory` comes back by itself, the others by `restore`.

    For example:

        glowplug devices fail local/virtual0
        glowplug devices fail local/virtual0 slow --factor 10
        glowplug devices fail local/virtual0 loads --count 3
    """
    if not 0.0 < factor < inf:
        raise InvalidArguments(f"--factor: {factor} is not how many times as long something takes", "factor")
    with Client(url) as client:
        client.disturb(DeviceId(device), Fault(how, count, factor))


@app.command
def restore(device: str, *, url: Url = None) -> None:
    """Make DEVICE whole again, and have it back, empty, when it was gone.

    For example:

        glowplug devices restore local/virtual0
    """
    with Client(url) as client:
        client.disturb(DeviceId(device), Fault("none"))


def device_table(found: list[DeviceStatus]) -> Table:
    table = plain_table()
    for name in ("DEVICE", "STATE", "USED", "OF", "RUNS", "QUEUE", "PACE", "MODELS"):
        right = name in ("USED", "OF", "RUNS", "QUEUE", "PACE")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for each in found:
        table.add_row(
            each.device, each.state, show_bytes(each.used_bytes), show_bytes(each.capacity_bytes),
            str(each.running), str(each.queued), f"{each.pace:.2f}", models_on(each),
        )  # fmt: skip
    return table


def models_on(device: DeviceStatus) -> str:
    """Names of the functions there, busy ones with a star, those that come with a plus, those that go with a
    minus."""
    marks = {"busy": "*", "climbing": "+", "descending": "-"}
    here = [each.function.removesuffix(".default") + marks.get(each.step, "") for each in device.residents]
    wanted = [f"{function.removesuffix('.default')}?" for function in device.loading]
    return ", ".join([*here, *wanted]) or "-"
