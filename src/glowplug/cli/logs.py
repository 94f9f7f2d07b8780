"""`glowplug logs`: what a function printed."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from cyclopts import Parameter

from glowplug.cli.functions import Json, Url
from glowplug.cli.numbers import Whole
from glowplug.cli.output import console, print_json_line
from glowplug.client import Client


def logs(
    function: str,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="")] = False,
    tail: Whole | None = None,
    since: str | None = None,
    grep: str | None = None,
    stream: Literal["stdout", "stderr", "build"] | None = None,
    instance: Whole | None = None,
    url: Url = None,
    json: Annotated[Json, Parameter(help="Print a JSON object a line.")] = False,
) -> None:
    """Print the last lines that FUNCTION wrote to stdout and stderr.

    For example:

        glowplug logs embedder --tail 20
        glowplug logs -f embedder
        glowplug logs embedder --since 10m --stream stderr --grep "out of memory"
        glowplug logs embedder --json | jq -r .text | grep -E 'took [0-9]{4,} ms'

    Parameters
    ----------
    follow
        Go on with each new line until Ctrl-C.
    tail
        At most this many of the lines that are kept.
    since
        Only lines after that: 10m ago, or 2026-01-31T12:00:00Z.
    grep
        Only lines with this text in them; upper and lower case differ.
    stream
        Only lines of this stream; build is what installed the function's packages.
    instance
        Only lines of this worker; 0 is the function's zygote.
    """
    wishes = {"since": since, "grep": grep, "stream": stream, "instance": instance}
    with Client(url) as client:
        for line in client.logs(function, follow=follow, tail=tail, **wishes):  # type: ignore[arg-type]
            if json:
                print_json_line(line)
                continue
            clock = time.strftime("%H:%M:%S", time.localtime(line.at_s))
            style = "red" if line.stream == "stderr" else None
            console.print(f"[dim]{clock} #{line.instance}[/] ", end="")
            console.out(line.text, style=style, highlight=False)
