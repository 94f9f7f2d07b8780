"""What a tree of processes holds, and its end."""

from __future__ import annotations

import contextlib
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


def living(pids: list[int]) -> list[int]:
    """Those that still run: a process that has ended and waits to be reaped is not among them."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(pid)
    return found


def named(name: str, pids: list[int]) -> list[int]:
    """Those whose command name is `name`, of which the kernel keeps 15 bytes."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().rstrip("\n") == name[:15]:
                found.append(pid)
    return found


def private_bytes(pid: int) -> int:
    """Pages that no other process has mapped, of whatever kind (smaps_rollup)."""
    fields = memory_fields(pid)
    return fields.get("Private_Clean", 0) + fields.get("Private_Dirty", 0)


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
