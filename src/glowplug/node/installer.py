"""Makes one virtual environment: `python -c COMMAND PARENT ORDER`, unprivileged, in a group of its own.

It runs uv or pip with a deadline and a limit on the disk, prints what that prints, and dies with the agent,
its installer too. The exit status tells how it went; nothing else of it is believed.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path

import msgspec

from glowplug.bundle.environments import CONSTRAINTS, REQUIREMENTS
from glowplug.bundle.provided import place, remove_placed
from glowplug.bundle.trees import tree_bytes
from glowplug.core.forks import die_with_parent
from glowplug.node.isolation import landlock, limits, roots, syscalls
from glowplug.node.mounts import closed_ancestor

COMMAND = "from glowplug.node.installer import main; main()"
FAILED, TOO_LONG, TOO_LARGE = 1, 3, 4
_NICE = 10
_RENAMES = 2
"""The version of Landlock from which on a file may be moved from one folder to another, as builds do."""
_WATCH_S = 1.0
_NETWORK_S = 30
"""How long the installer waits for an index that says nothing."""


class Order(msgspec.Struct, frozen=True):
    """`attempt` becomes the virtual environment; `home` has the lists and is scratch, gone afterwards."""

    attempt: str
    home: str
    installer: str
    cache: str
    from_source: bool
    provided: tuple[str, ...]
    timeout_s: float
    max_bytes: int


def find_installer(wanted: str = "") -> str:
    """How packages are installed here: the path of uv, `uv` or `pip` for a module of ours, else empty.

    A uv in a folder that functions' users cannot enter does not count.
    """
    found = shutil.which("uv")
    if wanted != "pip" and found and (os.geteuid() != 0 or closed_ancestor(Path(found)) is None):
        return found
    names = (wanted,) if wanted else ("uv", "pip")
    return next((name for name in names if importlib.util.find_spec(name) is not None), "")


def installer_name(installer: str) -> str:
    return Path(installer).name


def main() -> None:
    syscalls.no_new_privileges()
    # A package's build is a process that knows nothing of us: it must go with its group.
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
    die_with_parent(int(sys.argv[1]), signal.SIGTERM)
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    order = msgspec.json.decode(sys.argv[2], type=Order)
    os.umask(0o022)
    if order.from_source:
        confine(order)
    try:
        sys.exit(install(order))
    except OSError as error:
        print(f"the environment cannot be written: {error}", flush=True)
        sys.exit(TOO_LARGE if error.errno == 28 else FAILED)


def confine(order: Order) -> None:
    """A stranger's code builds: it writes to its folders alone, where it is watched and leaves nothing. What
    all users may read it reads. Raises OSError."""
    limits.apply(limits.MAX_ENVIRONMENT_TASKS)
    if landlock.version() >= _RENAMES:
        landlock.confine(["/"], [order.attempt, order.home], roots.device_roots())


def install(order: Order) -> int:
    """The exit status. What went wrong was printed."""
    attempt = Path(order.attempt)
    venv.EnvBuilder(symlinks=True).create(attempt)
    (packages,) = attempt.glob("lib/python3*/site-packages")
    place([each.partition("==")[0] for each in order.provided], packages)
    parent = os.getpid()
    process = subprocess.Popen(
        install_command(order, attempt / "bin" / "python"), cwd=order.home, stdin=subprocess.DEVNULL,
        preexec_fn=lambda: die_with_parent(parent),
    )  # fmt: skip
    status = watch(process, order, lambda: tree_bytes(attempt) + tree_bytes(Path(order.home)))
    remove_placed(packages)
    return status


def install_command(order: Order, python: Path) -> list[str]:
    """To be run in the order's home, for paths of wheels in the lists are relative to that."""
    asked = ["-r", REQUIREMENTS, "-c", CONSTRAINTS]
    if not order.from_source:
        asked += ["--only-binary", ":all:"]
    if order.installer == "pip":
        cache = ["--cache-dir", order.cache] if order.cache else ["--no-cache-dir"]
        return [
            sys.executable, "-m", "pip", "--python", str(python), "install", "--no-input", *cache,
            "--disable-pip-version-check", "--progress-bar", "off", "--no-warn-script-location",
            "--retries", "2", "--timeout", str(_NETWORK_S), *asked,
        ]  # fmt: skip
    cache = ["--cache-dir", order.cache] if order.cache else ["--no-cache"]
    uv = [sys.executable, "-m", "uv"] if order.installer == "uv" else [order.installer]
    return [
        *uv, "pip", "install", "--python", str(python), "--no-progress", "--no-config", "--link-mode", "copy",
        "--compile-bytecode", "--no-python-downloads", *cache, *asked,
    ]  # fmt: skip


def watch(process: subprocess.Popen[bytes], order: Order, size_bytes: Callable[[], int]) -> int:
    """Waits for the installer, and ends it at its limits."""
    deadline_s = time.monotonic() + order.timeout_s
    while True:
        try:
            return FAILED if process.wait(_WATCH_S) else 0
        except subprocess.TimeoutExpired:
            pass
        if time.monotonic() > deadline_s:
            process.kill()
            print(f"it took longer than {order.timeout_s:.0f} s", flush=True)
            return TOO_LONG
        if size_bytes() > order.max_bytes:
            process.kill()
            print(f"it takes more than {order.max_bytes / 1e9:.3g} GB of disk", flush=True)
            return TOO_LARGE
