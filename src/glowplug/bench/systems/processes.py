"""What a tree of processes holds, and its end."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from glowplug.node.procfs import memory_fields


def descendants(pid: int) -> list[int]:
    """Every living process below `pid`, without itself."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for task in Path(f"/proc/{parent}/task").glob("*"):
            try:
                children = [int(child) for child in (task / "children").read_text().split()]
            except OSError:
                continue
            found += children
            waiting += children
    return found


def proportional_bytes(pids: list[int]) -> int:
    """Their memory with every shared page counted once among its users (PSS)."""
    return sum(memory_fields(pid).get("Pss", 0) for pid in pids)


def end_tree(process: subprocess.Popen[bytes], grace_s: float = 10.0) -> None:
    """SIGTERM, and after the grace SIGKILL to it and to all it started."""
    if process.poll() is None:
        below = descendants(process.pid)
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            below += descendants(process.pid)
            process.kill()
            process.wait()
        for pid in below:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
