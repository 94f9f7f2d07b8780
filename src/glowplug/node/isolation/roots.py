"""Which of the host's folders a function may read: the interpreter, and the system's libraries."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import glowplug

_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/opt", "/sys", "/run/systemd/resolve")
_PROC = "/proc"
"""To be written too: how far a process stands back for others is a file there, and its owner alone may."""
_DEVICES = (_PROC, "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
_ACCELERATORS = ("/dev/nvidia*", "/dev/dri")


def interpreter_roots() -> list[Path]:
    """This interpreter's own folders, and ours."""
    found = [sys.prefix, sys.base_prefix, *os.environ.get("PYTHONPATH", "").split(os.pathsep), *sys.path]
    return [Path(glowplug.__file__).parents[1], *(Path(path) for path in found if path)]


def readable_roots(more: Iterable[Path] = ()) -> tuple[str, ...]:
    """Everything of the host that any function may read; `more` is an environment's own folders. None of them
    lies in another: each rule costs every fork some 40 us."""
    wanted = (*map(Path, _SYSTEM), *interpreter_roots(), *more)
    found = {path.resolve() for path in wanted if path.exists()} - {Path("/")}
    return tuple(sorted(str(path) for path in found if found.isdisjoint(path.parents)))


def device_roots() -> tuple[str, ...]:
    """Devices that any function may use, and the kernel's files about processes."""
    return (*_DEVICES, *(path for pattern in _ACCELERATORS for path in sorted(glob.glob(pattern))))  # noqa: PTH207
