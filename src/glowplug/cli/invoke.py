"""`glowplug invoke`: one request from the shell."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from glowplug.cli.functions import Json, Url
from glowplug.cli.output import console, errors, print_json
from glowplug.cli.timeline import timeline
from glowplug.client import Client
from glowplug.core.errors import InvalidArguments


def invoke(
    function: str,
    *arguments: str,
    endpoint: str | None = None,
    data: Annotated[str | None, Parameter(name=["--data", "-d"])] = None,
    npy: Path | None = None,
    timeout: float | None = None,
    timing: bool = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Call FUNCTION and print its answer.

    Examples:

        glowplug invoke shout text="hello there"
        glowplug invoke embedder -d '{"text": "hello"}' --timing
        echo '{"text": "hello"}' | glowplug invoke embedder -d -
        glowplug invoke classifier --npy image.npy

    Parameters
    ----------
    function
        Its name, or name.namespace.
    arguments
        name=value pairs; a value that is JSON is read as JSON, anything else as text.
    endpoint
        The endpoint, where the function has several; the first one else.
    data
        The whole body as JSON; `-` reads it from standard input.
    npy
        A .npy file, for a function that takes one array.
    timeout
        Seconds after which the server gives up.
    timing
        Show where the time went.
    """
    given: Any
    if npy is not None:
        import numpy as np

        given = np.load(npy, allow_pickle=False)
    elif data is not None:
        text = sys.stdin.read() if data == "-" else data
        try:
            given = msgspec.json.decode(text.encode())
        except msgspec.MsgspecError as error:
            raise InvalidArguments(f"--data is not valid JSON: {error}") from None
    else:
        given = dict(_pair(argument) for argument in arguments)
    with Client(url) as client, client.stream(function, given, endpoint, timeout_s=timeout) as answer:
        if json:
            items = [_plain(item) for item in answer]
            facts = {"origin": answer.origin, "request": answer.request, "phases": answer.phases}
            print_json({"answer": items if answer.is_stream else items[0], **facts})
            return
        for item in answer:
            _show(item, one_line=answer.is_stream)
    if timing:
        errors.print(timeline(f"from {answer.origin}", answer.phases))


def _show(value: Any, one_line: bool) -> None:
    """Prints an answer, or one item of a stream, at once."""
    if isinstance(value, str):
        console.print(value, markup=False, highlight=False)
    elif one_line:
        console.print_json(data=_plain(value), indent=None)
    else:
        console.print_json(data=_plain(value))


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidArguments(f"{text!r} is no argument: write name=value")
    try:
        return name, msgspec.json.decode(value.encode())
    except msgspec.MsgspecError:
        return name, value


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.tolist() if hasattr(value, "tolist") else value
