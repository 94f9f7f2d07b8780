"""What each process of a function does to itself first: die with its parent, gain nothing, own little."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import zlib

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_FIRST_UID = 1_879_048_192
_UIDS = 200_000_000
_KILL_S = 10.0


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """SIGKILL, or `number`, for this process as soon as `parent`'s thread that made it is gone. Exits when it
    already is.

    The kernel clears the setting when the user changes and on fork: call it after both.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def no_new_privileges() -> None:
    """No set-uid program and no file capability raises this process or its children from now on."""
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")


def kill_group(leader: int) -> None:
    """SIGKILL for a process group that may be gone already. Only while nobody else reaps its leader."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def kill_user(uid: int) -> None:
    """SIGKILL for every process of a user, those that left their group and session too. Needs root."""
    command = f"import os; os.kill(-1, {int(signal.SIGKILL)})"
    subprocess.run(
        [sys.executable, "-I", "-c", command], user=uid, group=uid, extra_groups=[], check=False,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_KILL_S,
    )  # fmt: skip


def uid_for(environment_key: str) -> int:
    """The unprivileged user of a (namespace, environment): far above any that a host hands out."""
    return _FIRST_UID + zlib.crc32(environment_key.encode()) % _UIDS
