"""`glowplug doctor`: what this machine allows, and what to do about what it does not."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.table import Table

from glowplug.cli.functions import Json
from glowplug.cli.output import console, print_json
from glowplug.compose import default_state_dir
from glowplug.core.units import show_bytes
from glowplug.loader.devices.cuda import card_bytes, cards
from glowplug.node.installer import find_installer, installer_name
from glowplug.node.machine_memory import read_memory
from glowplug.node.mounts import closed_ancestor
from glowplug.policy.pressure import margin

_EXAMINE = """
import msgspec, os
from glowplug.node.isolation.means import examine
os.write(1, msgspec.json.encode(examine()))
"""
_EXAMINE_S = 30
_CORES_A_GATEWAY = 4
_ADVICE = "root, a kernel of 6.12 or newer and, in a container, --privileged allow everything; see --strict"


class Finding(msgspec.Struct, frozen=True):
    """`state` is `ok`, `weak` (works, with less) or `bad` (does not work)."""

    name: str
    state: str
    found: str
    advice: str = ""


def doctor(*, state_dir: Path | None = None, json: Json = False) -> None:
    """Check this machine: Python, memory, disk, kernel features, isolation.

    Exit status 1 when something that Glowplug cannot do without is missing.

    For example:

        glowplug doctor
        glowplug doctor --json
    """
    folder = (state_dir or default_state_dir()).absolute()
    checks: list[Callable[[], Finding]] = [
        _python, _torch, _cores, _memory, _others, lambda: _disk(folder), _pidfd, _sealing,
        lambda: _homes(folder), _installer, _openmp, _cards,
    ]  # fmt: skip
    findings = [check() for check in checks] + _isolation()
    if json:
        print_json(findings)
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        marks = {"ok": "[green]ok[/]", "weak": "[yellow]weak[/]", "bad": "[bold red]bad[/]"}
        for f in findings:
            table.add_row(marks[f.state], f.name, f.found + (f"\n[dim]{f.advice}[/]" if f.advice else ""))
        console.print(table)
    sys.exit(any(f.state == "bad" for f in findings))


def _python() -> Finding:
    return Finding("python", "ok", sys.version.split()[0] + f" at {sys.executable}")


def _torch() -> Finding:
    try:
        return Finding("torch", "ok", importlib.metadata.version("torch"))
    except importlib.metadata.PackageNotFoundError:
        return Finding("torch", "weak", "not installed", "models need it: pip install 'glowplug[torch]'")


def _cores() -> Finding:
    count = len(os.sched_getaffinity(0))
    gateways = count // _CORES_A_GATEWAY
    more = f"; for many short calls, serve --gateways {gateways}" if gateways > 1 else ""
    return Finding("cores", "ok", f"{count}{more}")


def _memory() -> Finding:
    found = read_memory()
    free = found.available_bytes
    state = "ok" if free > 2 * 10**9 else "weak"
    where = " below its control group's limit" if found.limited else ""
    return Finding(
        "memory",
        state,
        f"{show_bytes(free)} available{where}",
        "" if state == "ok" else "give serve a smaller --memory",
    )


def _others() -> Finding:
    """Whether others' need of memory is seen (server/pressure.py)."""
    found = read_memory()
    kept = show_bytes(margin(found.total_bytes))
    if found.stalled is None:
        told = f"serve holds less when under {kept} are available; this kernel does not tell of stalls"
        return Finding("others' memory", "ok", told)
    now = "; processes wait for memory now" if found.stalled else ""
    told = (
        f"serve holds less when under {kept} are available, or twice that while processes wait for some{now}"
    )
    advice = "something here needs more memory than there is: give serve a smaller --memory"
    return Finding("others' memory", "weak" if found.stalled else "ok", told, advice if found.stalled else "")


def _disk(folder: Path) -> Finding:
    place = next(p for p in (folder, *folder.parents) if _is_there(p))
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        advice = "give doctor and serve a --state-dir that can be written"
        return Finding("disk", "bad", f"the state has no place: {place} cannot be written", advice)
    free = shutil.disk_usage(place).free
    state = "ok" if free > 5 * 10**9 else "weak"
    return Finding("disk", state, f"{show_bytes(free)} free at {place}")


def _is_there(path: Path) -> bool:
    """Also False where this user may not look."""
    try:
        return path.exists()
    except PermissionError:
        return False


def _pidfd() -> Finding:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return Finding("pidfd", "bad", str(error), "a Linux kernel of 5.3 or newer is needed")
    return Finding("pidfd", "ok", "deaths of processes are seen at once")


def _sealing() -> Finding:
    try:
        os.close(os.memfd_create("doctor", os.MFD_ALLOW_SEALING))
    except OSError as error:
        return Finding("memfd", "bad", str(error), "large bodies travel in sealed memory")
    return Finding("memfd", "ok", "large bodies travel in sealed shared memory")


def _homes(folder: Path) -> Finding:
    reached = Finding("interpreter", "ok", "functions can reach the interpreter and the store")
    if os.geteuid() != 0:
        return reached
    closed = {c for p in (sys.prefix, sys.base_prefix, folder) if (c := closed_ancestor(Path(p))) is not None}
    if not closed:
        return reached
    shown = ", ".join(sorted(map(str, closed)))
    return Finding(
        "interpreter", "ok", f"{shown} is closed to others: the agent shows functions what they need of it"
    )


def _installer() -> Finding:
    found = find_installer()
    if not found:
        advice = "functions with requirements need one: pip install uv"
        return Finding("packages", "weak", "neither uv nor pip is here", advice)
    name = installer_name(found)
    where = found if found != name else f"{name}, as a module of this Python"
    return Finding("packages", "ok", f"required packages are installed by {where}")


def _cards() -> Finding:
    """Graphics cards, and what is free on them. Without any, functions on devices need others."""
    numbers = cards()
    if not numbers:
        return Finding(
            "devices",
            "ok",
            "no graphics card; functions with device='gpu' need serve --devices virtual:.. or cpu:..",
        )
    try:
        free = ", ".join(f"cuda:{number} {show_bytes(card_bytes(number))} free" for number in numbers)
    except RuntimeError as error:
        return Finding("devices", "weak", f"{len(numbers)} graphics cards", str(error))
    return Finding("devices", "ok", free)


def _isolation() -> list[Finding]:
    """What an agent finds, found by a process that does to itself what an agent does."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _EXAMINE], capture_output=True, text=True, check=False,
            timeout=_EXAMINE_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        found = f"to find out took more than {_EXAMINE_S} s"
        return [
            Finding("isolation", "bad", found, "an agent may not start either: try when less is going on")
        ]
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        return [Finding("isolation", "bad", last, "the agent would not start either")]
    words = msgspec.json.decode(done.stdout, type=dict[str, str])
    return [_of_isolation(name, word) for name, word in words.items()]


def _of_isolation(name: str, word: str) -> Finding:
    """`word` begins with yes or no, and what else it says is the reason."""
    verdict, _, rest = word.partition(": ") if ": " in word else word.partition(", ")
    weak = verdict == "no"
    advice = _ADVICE if weak else ""
    return Finding(name, "weak" if weak else "ok", rest or word, advice)


def _openmp() -> Finding:
    """torch brings its own libgomp: with its pause call a zygote may compute before it forks."""
    try:
        files = importlib.metadata.files("torch") or []
    except importlib.metadata.PackageNotFoundError:
        return Finding("openmp", "ok", "not needed without torch")
    for file in files:
        if file.name.startswith("libgomp"):
            usable = hasattr(ctypes.CDLL(str(file.locate())), "omp_pause_resource_all")
            found = "can be paused before a fork" if usable else "cannot be paused"
            return Finding("openmp", "ok" if usable else "weak", found)
    return Finding(
        "openmp", "weak", "torch brings no libgomp", "workers of a warmed zygote may be slower to start"
    )
