"""Runs a command, and ends with everything that it started.

    python keeper.py COMMAND [ARGUMENT...]

Ends when the command does, on SIGTERM, and when its stdin closes, as happens however whoever started it
dies: first with SIGTERM to the command, after GRACE_S with SIGKILL to all below. The kernel hands orphans to
this process (PR_SET_CHILD_SUBREAPER), so that no session, group or title of their own lets one get away.
Exits with the command's status, 128 + a signal's number, or 70 when something could not be killed.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

GRACE_S = 10.0
KILL_S = 20.0
_PR_SET_CHILD_SUBREAPER = 36
_STUCK = 70


def main(command: list[str]) -> int:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    told, tell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGTERM, lambda *_: os.write(tell, b"x"))
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    over = os.pidfd_open(child.pid)
    select.select([sys.stdin.fileno(), told, over], [], [])
    if child.poll() is None:
        child.terminate()
        select.select([over], [], [], GRACE_S)
        if child.poll() is None:
            child.kill()
    status = child.wait()
    return (status if status >= 0 else 128 - status) if _kill_all() else _STUCK


def _kill_all() -> bool:
    """SIGKILL to all below, again and again, since what dies leaves its own children here."""
    deadline_s = time.monotonic() + KILL_S
    while time.monotonic() < deadline_s:
        for pid in _below(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return True
        time.sleep(0.005)
    return False


def _below(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return found + [other for child in found for other in _below(child)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
