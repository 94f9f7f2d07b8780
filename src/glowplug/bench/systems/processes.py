"""A tree of processes: who is in it, and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from glowplug.node.procfs import memory_fields


def children(pid: int) -> list[int]:
    """The living processes that `pid` started and has not lost; none when it is gone."""
    found: list[int] = []
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
    for task in tasks:
        with contextlib.suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    """Every living process below `pid`, without itself."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children(waiting.pop())
        found += below
        waiting += below
    return found


def inner_pid(pid: int) -> int:
    """What a process calls itself, in the innermost namespace that it is in; `pid` when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return pid
    return next(int(line.split()[-1]) for line in lines if line.startswith("NSpid:"))


def outer_pid(root: int, inner: int) -> int | None:
    """The process below `root` that calls itself `inner`; None when there is none."""
    return next((pid for pid in descendants(root) if inner_pid(pid) == inner), None)


def command_line(pid: int) -> list[str]:
    """The words that a process was started with, or shows instead; a forked one has its parent's. Empty when
    it is gone. Other people's processes are read too, whose words need not be UTF-8."""
    try:
        words = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).rstrip("\0")
    except OSError:
        return []
    return words.split("\0") if words else []


def command_name(pid: int) -> str:
    """What `ps` calls a process: the 15 bytes that the kernel keeps of it. Empty when it is gone."""
    try:
        return os.fsdecode(Path(f"/proc/{pid}/comm").read_bytes()).removesuffix("\n")
    except OSError:
        return ""


def living(pids: list[int]) -> list[int]:
    """Those that still run: a process that has ended and waits to be reaped is not among them."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z":
                found.append(pid)
    return found


def named(name: str, pids: list[int]) -> list[int]:
    """Those whose command name is `name`, of which the kernel keeps 15 bytes."""
    return [pid for pid in pids if command_name(pid) == name[:15]]


def unique_set_bytes(pid: int) -> int:
    """Of pages that no other process has mapped, clean ones of files included (USS)."""
    fields = memory_fields(pid)
    return fields.get("Private_Clean", 0) + fields.get("Private_Dirty", 0)


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
