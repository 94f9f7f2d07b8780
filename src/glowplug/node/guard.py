"""Who installs packages: users of their own, and how all of their processes are ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import zlib

_FIRST_UID = 1_879_048_192
_UIDS = 200_000_000
_KILL_S = 10.0


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


def uid_for(name: str) -> int:
    """The unprivileged user that installs under this name: far above any that a host hands out, and above
    those of functions (isolation/identities.py)."""
    return _FIRST_UID + zlib.crc32(name.encode()) % _UIDS
