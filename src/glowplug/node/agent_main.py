"""The agent's process: `python -c COMMAND DESCRIPTOR PARENT SETTINGS`."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import msgspec

from glowplug.core.settings import NodeSettings
from glowplug.node import guard, mounts
from glowplug.node.agent import Agent
from glowplug.node.installation import private_files

COMMAND = "from glowplug.node.agent_main import main; main()"


def main() -> None:
    """Runs until the server is gone. Whatever ends this process ends every process it made."""
    guard.die_with_parent(int(sys.argv[2]))
    server = socket.socket(fileno=int(sys.argv[1]))
    settings = msgspec.json.decode(sys.argv[3], type=NodeSettings)
    private = private_files()
    settings, isolation = isolate(settings)
    asyncio.run(Agent(settings, server, isolation, private).run())


def isolate(settings: NodeSettings) -> tuple[NodeSettings, dict[str, str]]:
    """Opens the interpreter's way for unprivileged users, and says what this host allows.

    Returns the settings as they hold here: without dropping privileges where that cannot be.
    """
    told = {"no new privileges": "yes", "killed with its parent": "yes"}
    if not settings.drop_privileges:
        return settings, told | {"own user": "no: switched off"}
    if os.geteuid() != 0:
        return settings, told | {
            "own user": "no: Glowplug does not run as root, functions run as its own user"
        }
    wanted = [
        Path(p) for p in (sys.prefix, sys.base_prefix, settings.state_dir, settings.run_dir, *sys.path) if p
    ]
    try:
        covered = mounts.reveal([*wanted, Path(__file__).parents[1]])
    except OSError as error:
        reason = f"no: the interpreter or the store lies in a folder closed to others, and {error}"
        return msgspec.structs.replace(settings, drop_privileges=False), told | {"own user": reason}
    if covered:
        told["hidden folders"] = ", ".join(map(str, covered))
    return settings, told | {"own user": "yes, one for each namespace and environment"}
