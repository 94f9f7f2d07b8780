"""`glowplug calls`: what became of spawned calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from math import inf
from typing import Annotated

import cyclopts
from cyclopts import Parameter
from rich.markup import escape
from rich.table import Table

from glowplug.cli.functions import Json, Url
from glowplug.cli.invoke import print_answer
from glowplug.cli.numbers import Whole
from glowplug.cli.output import console, errors, plain_table, print_json
from glowplug.client import Client
from glowplug.core.calls import DEAD_LETTERS, CallRecord
from glowplug.core.errors import (
    CallNotRetriable,
    DeadlinePassed,
    GlowplugError,
    InvalidArguments,
    UnknownCall,
)
from glowplug.core.units import show_bytes, show_seconds

app = cyclopts.App(name="calls", help="List, show, cancel and retry spawned calls.")
_COLOURS = {"done": "green", "started": "cyan", "failed": "red", "dead": "red", "lost": "red"}
_PAGE = 1000


@app.default
def list_calls(
    function: str | None = None,
    *,
    state: str | None = None,
    limit: Whole = 50,
    url: Url = None,
    json: Json = False,
) -> None:
    """List spawned calls, the newest first: all, or those of FUNCTION.

    For example:

        glowplug calls
        glowplug calls embedder --state dead-letter
        glowplug calls --state waiting --json | jq -r '.[].id'

    Parameters
    ----------
    function
        Its name, or name.namespace.
    state
        waiting, started, done, failed, dead, lost or cancelled; dead-letter is all that can be retried.
    limit
        How many.
    """
    with Client(url) as client:
        found = _listed(client, function, state, limit)
    if json:
        print_json(found)
    elif not found:
        console.print("no such call is stored; spawn one with: glowplug invoke FUNCTION --spawn")
    else:
        console.print(_table(found))


@app.command
def show(call: str, *, url: Url = None, json: Json = False) -> None:
    """Show all that is known of CALL.

    For example:

        glowplug calls show 019ac0ffee...
    """
    with Client(url) as client:
        found = client.call_status(call)
    if json:
        print_json(found)
        return
    console.print(f"[bold]{found.id}[/] {found.function}/{found.endpoint}, {_coloured(found.state)}")
    facts = [
        f"accepted {_moment(found.created_s)}, to end by {_moment(found.deadline_s)}",
        f"{found.attempts} attempts, {found.refusals} times turned away, "
        + ("may run more than once" if found.idempotent else "runs at most once"),
        f"{show_bytes(found.body_bytes)} of arguments, {show_bytes(found.result_bytes)} of result",
    ]
    if found.state == "waiting":
        facts.append(f"the next attempt is due {_moment(found.due_s)}")
    if found.ended_s is not None:
        facts.append(f"ended {_moment(found.ended_s)}, after {show_seconds(found.ended_s - found.created_s)}")
    if found.error is not None:
        facts.append(f"error {found.error.code}: {found.error.message}")
    if found.callback is not None:
        said = f": {found.callback.error}" if found.callback.error else ""
        facts.append(f"callback {found.callback.url} {found.callback.state.replace('_', ' ')}{said}")
    for fact in facts:
        console.print(f"  {fact}", markup=False, highlight=False)


@app.command
def get(call: str, *, timeout: float | None = None, url: Url = None, json: Json = False) -> None:
    """Wait for CALL to end and print its answer.

    For example:

        glowplug calls get 019ac0ffee... --timeout 60

    Parameters
    ----------
    call
        Its id.
    timeout
        Seconds to wait; without it, until it ends.
    """
    with Client(url) as client:
        try:
            value = client.spawned(call).get(timeout)
        except TimeoutError as error:
            raise DeadlinePassed(str(error)) from None
    print_answer(value, json)


@app.command
def cancel(*calls: str, url: Url = None, json: Json = False) -> None:
    """Cancel CALLS; those that have ended stay as they are.

    For example:

        glowplug calls cancel 019ac0ffee...
    """
    if not calls:
        raise InvalidArguments("name the calls to cancel, as glowplug calls lists them")
    with Client(url) as client:
        _each(calls, client.cancel_call, json)


@app.command
def retry(
    *calls: str,
    every: Annotated[bool, Parameter(name="--all", negative="")] = False,
    function: str | None = None,
    lost: Annotated[bool, Parameter(negative="")] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Send dead letters once more: CALLS, or all of them.

    For example:

        glowplug calls retry 019ac0ffee...
        glowplug calls retry --all --function embedder
        glowplug calls retry 019ac0ffee... --lost

    Parameters
    ----------
    calls
        Their ids.
    every
        Every dead letter.
    function
        With --all: only those of this function.
    lost
        Also those that may have run and were not declared idempotent.
    """
    if every == bool(calls):
        raise InvalidArguments("name the calls to retry, or use --all")
    if function is not None and not every:
        raise InvalidArguments("--function: goes with --all", "function")
    with Client(url) as client:
        chosen = calls or _dead_letters(client, function, lost)
        _each(chosen, lambda call: client.retry_call(call, lost=lost), json)


def _each(calls: Sequence[str], change: Callable[[str], CallRecord], json: bool) -> None:
    """Also where some have ended or gone meanwhile. Raises the error of one, or of the last of several: the
    others are told before."""
    found: list[CallRecord] = []
    failed: list[GlowplugError] = []
    for call in calls:
        try:
            found.append(change(call))
        except (UnknownCall, CallNotRetriable) as error:
            failed.append(error)
    if found or not failed:
        _report(found, json)
    for each in failed[:-1]:
        errors.print(escape(each.message))
    if failed:
        raise failed[-1]


def _dead_letters(client: Client, function: str | None, lost: bool) -> list[str]:
    wanted = DEAD_LETTERS if lost else DEAD_LETTERS - {"lost"}
    return [call.id for call in _listed(client, function, "dead-letter") if call.state in wanted]


def _listed(client: Client, function: str | None, state: str | None, most: float = inf) -> list[CallRecord]:
    """The newest `most`, page by page: a server gives so many at once."""
    found: list[CallRecord] = []
    while (asked := int(min(most - len(found), _PAGE))) and (
        page := client.calls(function, state, asked, found[-1].id if found else None)
    ):
        found += page
    return found


def _report(found: list[CallRecord], json: bool) -> None:
    if json:
        print_json(found)
    elif found:
        console.print(_table(found))
    else:
        console.print("there is none")


def _table(found: list[CallRecord]) -> Table:
    table = plain_table()
    for name in ("CALL", "FUNCTION", "STATE", "ACCEPTED", "TRIES", "NOTE"):
        table.add_column(
            name,
            justify="right" if name == "TRIES" else "left",
            overflow="ellipsis" if name == "NOTE" else "fold",
            no_wrap=name != "FUNCTION",
        )
    for call in found:
        note = call.error.message if call.error is not None else ""
        table.add_row(
            call.id, call.function.removesuffix(".default"), _coloured(call.state),
            _moment(call.created_s)[-8:], str(call.attempts), escape(note),
        )  # fmt: skip
    return table


def _coloured(state: str) -> str:
    return f"[{_COLOURS[state]}]{state}[/]" if state in _COLOURS else state


def _moment(at_s: float) -> str:
    return datetime.fromtimestamp(at_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")
