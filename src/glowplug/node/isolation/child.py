"""What a fork of an environment's zygote gives up before it touches a function's own code.

A fork of a function's zygote was confined with it, and only gets a folder of its own.
"""

from __future__ import annotations

import os
import sys

import msgspec

from glowplug.node.isolation import landlock, limits, syscalls


class Confinement(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a process may touch. `user` is its id inside the zygote's user namespace, 0 for the zygote's own;
    without `landlock` the paths mean nothing. `file_bytes` limits a file, 0 for none."""

    user: int = 0
    landlock: bool = False
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    file_bytes: int = 0


def confine(plan: Confinement) -> None:
    """Irreversible. Raises OSError. The user and the paths are the calling thread's and those of threads that
    it makes later: who is to be confined has one thread, but for `file_bytes`, which is the process's."""
    if plan.file_bytes:
        limits.limit_file(plan.file_bytes)
    if plan.user:
        os.setresgid(plan.user, plan.user, plan.user)
        os.setresuid(plan.user, plan.user, plan.user)
        syscalls.own_proc_files()
    if plan.landlock:
        landlock.confine(plan.readable, plan.writable, plan.devices)


def settle_in(folder: str) -> None:
    """Makes `folder` the place for whatever this process writes without saying where."""
    os.chdir(folder)
    os.environ["HOME"] = os.environ["TMPDIR"] = folder
    tempfile = sys.modules.get("tempfile")
    if tempfile is not None:
        tempfile.__dict__["tempdir"] = None  # asked for again, it finds TMPDIR
