"""The agent's process: `python -P -c COMMAND DESCRIPTOR PARENT SETTINGS`."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import msgspec

from glowplug.bundle.artifacts import local_folder
from glowplug.core.settings import NodeSettings
from glowplug.node import mounts
from glowplug.node.agent import Agent
from glowplug.node.installation import private_files
from glowplug.node.isolation import namespaces, syscalls
from glowplug.node.isolation.means import Means
from glowplug.node.isolation.roots import interpreter_roots

_SOCKETS = Path("/run")
_KEPT = tuple(map(Path, ("/run/current-system", "/run/opengl-driver", "/run/nvidia-persistenced")))
"""How some systems find programs and drivers."""
_SERVICES = (*_KEPT, Path("/var/lib/sss/pipes"))
"""Whom libraries ask for drivers, and for names of users."""
_MPS = "CUDA_MPS_PIPE_DIRECTORY"
NAME = "glowplug-agent"
"""What ps shows of it."""
COMMAND = "from glowplug.node.agent_main import main; main()"


def main() -> None:
    """Runs until the server is gone. Whatever ends this process ends every process it made."""
    why_not = namespaces.enter(int(sys.argv[2]))
    syscalls.name_process(NAME)
    server = socket.socket(fileno=int(sys.argv[1]))
    settings = msgspec.json.decode(sys.argv[3], type=NodeSettings)
    private = private_files()
    Path(settings.run_dir).mkdir(parents=True, exist_ok=True)  # to be revealed, it must be there
    means = Means()
    try:
        settings = reveal(settings, means, why_not)
        means.find(settings, why_not)
        if why_not:
            means.words["hidden sockets"] = f"no: functions reach those of this machine, for {why_not}"
        else:
            hide_sockets(settings, means)
        asyncio.run(Agent(settings, server, means, private).run())
    finally:
        means.close()


def hide_sockets(settings: NodeSettings, means: Means) -> None:
    """Sockets that have a name are reached whatever network and files a function may have: those of this
    machine's services, and of whoever runs the server. What they are for lies in one folder; databases and
    desktops have theirs in others."""
    artifacts = local_folder(settings.artifacts)
    own = [Path(settings.state_dir), Path(settings.run_dir), *([artifacts] if artifacts is not None else [])]
    resolver = Path("/etc/resolv.conf").resolve().parent
    wanted = {path.resolve() for path in (*interpreter_roots(), *own, resolver, *_KEPT) if path.exists()}
    try:
        if _SOCKETS not in wanted:
            mounts.cover(_SOCKETS, wanted)
        mounts.cover_sockets((*_SERVICES, Path(os.environ.get(_MPS, "/tmp/nvidia-mps"))))
    except OSError as error:
        means.words["hidden sockets"] = f"no: functions reach those in {_SOCKETS}, for {error}"
    else:
        all_in = f"{_SOCKETS}, and " if _SOCKETS not in wanted else ""
        means.words["hidden sockets"] = f"{all_in}those elsewhere that were there at start"


def reveal(settings: NodeSettings, means: Means, why_not: str) -> NodeSettings:
    """Opens the interpreter's way for unprivileged users, unless `why_not` says that mounting would not be
    for us alone. Returns the settings as they hold here: without dropping privileges where that cannot be,
    and with an artifact store that is covered under a name that still leads there, for this process."""
    if not settings.drop_privileges or os.geteuid() != 0:
        return settings
    artifacts = _opened(settings.artifacts)
    try:
        wanted = [*interpreter_roots(), Path(settings.state_dir), Path(settings.run_dir)]
        covered = mounts.reveal(wanted, why_not)
    except OSError as error:
        means.words["interpreter"] = f"no: it or the store lies in a folder closed to others, and {error}"
        return msgspec.structs.replace(settings, drop_privileges=False)
    if covered:
        means.words["hidden folders"] = ", ".join(map(str, covered))
    if artifacts is not None and any(artifacts.resolve().is_relative_to(folder) for folder in covered):
        return msgspec.structs.replace(settings, artifacts=str(artifacts))
    return settings


def _opened(artifacts: str) -> Path | None:
    """A name of the store's folder, which is made, that leads there also when it is covered; None where there
    is none, or it cannot be made, which who opens it says."""
    folder = local_folder(artifacts)
    if folder is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(f"/proc/self/fd/{os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)}")
    except OSError:
        return None
