"""The command `glowplug`."""

from __future__ import annotations

import functools
import os
import select
import sys

import cyclopts

from glowplug._version import __version__
from glowplug.cli.extras import not_installed
from glowplug.cli.output import CommandConsole, fail
from glowplug.core.errors import GlowplugError

app = cyclopts.App(
    name="glowplug",
    help="Serverless inference without the cold start.\n\nStart with: glowplug serve app.py",
    version=__version__,
    help_format="markdown",
    console=CommandConsole(),
)


def main() -> None:
    """Exits with 0 done, 1 failed, 2 used wrongly, 3 not reached or no room, 130 interrupted."""
    register()
    if sys.argv[1:] in ([], ["--help"], ["-h"]):
        app.resolved_commands()  # to list what each does: one that was not imported has no words for it
    try:
        app()
    except GlowplugError as error:
        sys.exit(fail(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "glowplug":
            raise
        sys.exit(fail(not_installed(error.name)))
    except OSError as error:  # this machine's disk or files, which are nobody's mistake in the code
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            _drop_the_rest()
            sys.exit(0)
        sys.exit(fail(GlowplugError(str(error))))


def _nobody_reads() -> bool:
    """Whoever read what is printed has seen enough, as `head`: that is no failure. Other pipes may break,
    too."""
    poller = select.poll()
    for stream in filter(None, (sys.stdout, sys.stderr)):  # either may have been closed before
        poller.register(stream, 0)
    return bool(poller.poll(0))


def _drop_the_rest() -> None:
    """Python writes what is still held back when it ends, and would fail once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        os.dup2(nowhere, stream.fileno())


@functools.cache
def register() -> None:
    """Once. Each command lives in its own module, imported when the command runs."""
    commands = {
        "serve": "serve:serve",
        "deploy": "functions:deploy",
        "ps": "functions:ps",
        "top": "top:top",
        "describe": "functions:describe",
        "invoke": "invoke:invoke",
        "calls": "calls:app",
        "logs": "logs:logs",
        "scale": "functions:scale",
        "rollback": "functions:rollback",
        "undeploy": "functions:undeploy",
        "secret": "secrets:app",
        "env": "environments:app",
        "trace": "trace:trace",
        "explain": "explain:explain",
        "devices": "devices:app",
        "replay": "replay:replay",
        "workload": "workloads:workload",
        "pack": "packs:pack",
        "load": "packs:load",
        "doctor": "doctor:doctor",
        "distributed": "distributed:app",
        "simulate": "simulate:simulate",
        "bench": "bench:bench",
        "demo": "bench:demo",
    }
    for name, place in commands.items():
        module, _, attribute = place.partition(":")
        app.command(f"glowplug.cli.{module}:{attribute}", name=name)
