"""`glowplug logs`: what a function printed."""

from __future__ import annotations

import time
from typing import Annotated

from cyclopts import Parameter

from glowplug.cli.functions import Json, Url
from glowplug.cli.output import console, print_json_line
from glowplug.client import Client


def logs(
    function: str,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="")] = False,
    tail: int | None = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Print the last lines that FUNCTION wrote to stdout and stderr.

    Examples:

        glowplug logs embedder --tail 20
        glowplug logs -f embedder
    """
    with Client(url) as client:
        for line in client.logs(function, follow=follow, tail=tail):
            if json:
                print_json_line(line)
                continue
            clock = time.strftime("%H:%M:%S", time.localtime(line.at_s))
            style = "red" if line.stream == "stderr" else None
            console.print(f"[dim]{clock} #{line.instance}[/] ", end="")
            console.print(line.text, style=style, markup=False, highlight=False)
