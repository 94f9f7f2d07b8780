"""`glowplug invoke`: one request from the shell."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from glowplug.cli.functions import Json, Url
from glowplug.cli.output import console, errors, print_json
from glowplug.cli.timeline import timeline
from glowplug.client import Client
from glowplug.core.errors import UNREADABLE, InvalidArguments, sayable
from glowplug.core.priority import PriorityLabel


def invoke(
    function: str,
    *arguments: str,
    endpoint: str | None = None,
    data: Annotated[str | None, Parameter(name=["--data", "-d"], allow_leading_hyphen=True)] = None,
    npy: Path | None = None,
    timeout: float | None = None,
    timing: bool = False,
    spawn: Annotated[bool, Parameter(negative="")] = False,
    deadline: float | None = None,
    key: str | None = None,
    priority: PriorityLabel | None = None,
    callback: str | None = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Call FUNCTION and print its answer; with --spawn, store the call and print its id.

    For example:

        glowplug invoke shout text="hello there"
        glowplug invoke embedder -d '{"text": "hello"}' --timing
        echo '{"text": "hello"}' | glowplug invoke embedder -d -
        glowplug invoke classifier --npy image.npy
        glowplug calls get $(glowplug invoke shout text=hello --spawn)

    Parameters
    ----------
    function
        Its name, or name.namespace.
    arguments
        name=value pairs; a value that is JSON is read as JSON, anything else as text.
    endpoint
        The endpoint, where the function has several; the first one else.
    data
        The whole body as JSON; `-` reads it from standard input, `@FILE` from a file.
    npy
        A .npy file, for a function that takes one array.
    timeout
        Seconds after which the server gives up; the function's own timeout= may be sooner.
    timing
        Show where the time went.
    spawn
        Do not wait for the answer: `glowplug calls` has it later.
    deadline
        With --spawn: seconds after which the call is not tried again.
    key
        With --spawn: an idempotency key; the same key is the same call.
    priority
        With --spawn: before whom it goes: interactive, batch or, when not given, background.
    callback
        With --spawn: a URL to which the result is posted.
    """
    if [npy is not None, data is not None, bool(arguments)].count(True) > 1:
        raise InvalidArguments("give the arguments once: as name=value pairs, with --data, or with --npy")
    given: Any
    if npy is not None:
        from numpy.lib import format as npy_format

        try:
            with npy.open("rb") as file:
                given = npy_format.read_array(file, allow_pickle=False)
        except (OSError, ValueError, MemoryError) as error:
            raise InvalidArguments(f"--npy {npy}: {error}") from None
    elif data is not None:
        try:
            given = msgspec.json.decode(_body(data))
        except OSError as error:
            raise InvalidArguments(f"--data {data}: {error}") from None
        except UNREADABLE as error:
            raise InvalidArguments(f"--data is not valid JSON: {error}") from None
    else:
        given = _named(arguments)
    if spawn:
        with Client(url) as client:
            call = client.spawn(
                function, given, endpoint, timeout_s=timeout, deadline_s=deadline,
                priority=priority or "background", key=key, callback_url=callback,
            )  # fmt: skip
            print_json(call.status()) if json else print(call.id, flush=True)
        return
    if (deadline, key, priority, callback) != (None, None, None, None):
        raise InvalidArguments("--deadline, --key, --priority and --callback belong to --spawn")
    with Client(url) as client, client.stream(function, given, endpoint, timeout_s=timeout) as answer:
        if json:
            items = [_plain(item) for item in answer]
            facts = {"origin": answer.origin, "request": answer.request, "phases": answer.phases}
            print_json({"answer": items if answer.is_stream else items[0], **facts})
            return
        for item in answer:
            print_answer(item, one_line=answer.is_stream)
    if timing:
        errors.print(timeline(f"from {answer.origin}" if answer.origin else "stream", answer.phases))


def _body(data: str) -> bytes:
    """As curl has it. Raises OSError."""
    if data == "-":
        return sys.stdin.buffer.read()
    return Path(data[1:]).read_bytes() if data.startswith("@") else os.fsencode(data)


def print_answer(value: Any, as_json: bool = False, one_line: bool = False) -> None:
    """A text, and bytes that do not go to a terminal, as they are; anything else as JSON, in one line for the
    items of a stream. `as_json` makes JSON of everything."""
    if as_json:
        print_json(_plain(value))
    elif isinstance(value, str):
        sys.stdout.write(f"{value}\n")
        sys.stdout.flush()
    elif isinstance(value, bytes) and not sys.stdout.isatty():
        sys.stdout.flush()
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
    else:
        console.print_json(data=_plain(value), indent=None if one_line else 2)


def _named(arguments: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in map(_pair, arguments):
        if name in found:
            raise InvalidArguments(f"{name!r} is given twice", name)
        found[name] = value
    return found


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidArguments(f"{text!r} is no argument: write name=value")
    try:
        return name, msgspec.json.decode(os.fsencode(value))
    except UNREADABLE:
        pass
    if sayable(value) != value:
        raise InvalidArguments(f"{sayable(text)!r}: the value is no text in UTF-8", sayable(name))
    return name, value


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value
