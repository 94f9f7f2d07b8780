"""What an environment's zygote imports: its libraries, except those that leave threads running or something
open.

A fork copies one thread, and leaves the locks that the others hold locked for ever. What is open it shares
(ties.py), here with processes of all functions. So when an import leaves such a thing behind, the zygote
replaces itself (execve: the same process with the same arguments, socket and parent) and leaves that library
out; whose code needs it imports it in processes of its own.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from pathlib import Path

import msgspec

from glowplug.core.errors import in_words, sayable
from glowplug.node import procfs
from glowplug.node.parallel import rest_threads
from glowplug.node.ties import Ties

_CARRIED = "GLOWPLUG_IMPORTS"
_MOST_CHARS = 500
"""Of an error: all of them are told in one message."""
_PASSING_S = 0.1
"""A thread that is gone so soon after the import was a helper of it."""


class Imports(msgspec.Struct):
    """What is known of an environment's libraries, each by its name.

    `missing` are errors of those that cannot be imported; `left_out` says in words what the import of the
    others leaves behind. `started_s` (CLOCK_MONOTONIC) is when the first of the processes began, 0 before.
    """

    started_s: float = 0.0
    missing: dict[str, str] = {}
    left_out: dict[str, str] = {}


def carrying(known: Imports) -> dict[str, str]:
    """The environment variable that tells a zygote, or the one that replaces it, what is known."""
    return {_CARRIED: msgspec.json.encode(known).decode()}


class Importer:
    """Imports libraries in this process, which may be replaced by that, with `kept` as its one descriptor
    beside the standard streams. `command` begins the replacement. Make it before a library is imported: a
    replacement starts with the environment variables of that moment."""

    def __init__(self, kept: int, command: list[str]) -> None:
        self._kept = kept
        self._command = command
        carried = os.environ.pop(_CARRIED, None)
        self._variables = dict(os.environ)
        self.known = msgspec.json.decode(carried, type=Imports) if carried else Imports()
        self.known.started_s = self.known.started_s or time.monotonic()

    def run(self, names: list[str]) -> Imports:
        """Imports what is not known to be missing or left out. Raises OSError when execve does."""
        known, before = self.known, Ties.now()
        for name in names:
            if name in known.missing or name in known.left_out:
                continue
            try:
                importlib.import_module(name)
            except BaseException as error:
                known.missing[name] = sayable(in_words(error))[:_MOST_CHARS]
            left = _left_behind(before)
            if left:
                if name not in known.missing:
                    known.left_out[name] = f"leaves {left}"
                self._begin_again()
        if "numpy" not in known.missing and "numpy" not in known.left_out:
            with contextlib.suppress(ImportError):
                import numpy  # noqa: F401
        if "torch" in sys.modules:
            for part in ("reader", "weights", "construct", "prime"):
                importlib.import_module(f"glowplug.loader.{part}")
        return known

    def _begin_again(self) -> None:
        """Does not return. What a library had opened is closed: a port that it listened on must be free when
        a worker imports it again."""
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
            if descriptor > 2:
                with contextlib.suppress(OSError):  # the one that this listing was read from
                    os.set_inheritable(descriptor, descriptor == self._kept)
        os.execve(sys.executable, self._command, self._variables | carrying(self.known))


def _left_behind(before: Ties) -> str:
    """What an import left that no fork may meet, in words; else empty."""
    if threads := lasting_threads():
        return f"{threads} thread{'s' * (threads > 1)} running"
    return before.new()


def lasting_threads() -> int:
    """How many threads this process has beside its main one, once those that end by themselves are gone.

    OpenMP's idle threads are ended: they can be made again.
    """
    if procfs.thread_count() <= 1:
        return 0
    rest_threads()
    deadline_s = time.monotonic() + _PASSING_S
    while (threads := procfs.thread_count()) > 1 and time.monotonic() < deadline_s:
        time.sleep(0.001)
    return threads - 1
