"""Gives up what an environment's plan says, in the one order that works.

`python -I -S launch.py PLAN`, where PLAN is JSON, does so and executes the plan's command: between the agent,
which may do everything, and an interpreter whose site-packages may be anybody's, it runs with the standard
library alone. An interpreter in reserve (`node/standby.py`), whose packages are the agent's own, calls
`confine`.
"""

from __future__ import annotations

import json
import os
import sys
import types
from typing import Any

_NONE_SHARED = {
    "kernel/shmmni": "0",
    "kernel/msgmni": "0",
    "kernel/sem": "0 0 0 0",
    "fs/mqueue/queues_max": "0",
}
_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  pathlib is not worth its import


def _bare_packages() -> None:
    """Makes `glowplug.node.isolation` importable without what the packages around it import."""
    path = _HERE
    for name in ("glowplug.node.isolation", "glowplug.node", "glowplug"):
        module = types.ModuleType(name)
        module.__path__ = [path]
        sys.modules[name] = module
        path = os.path.dirname(path)  # noqa: PTH120


def main() -> None:
    """Does not return; what it raises ends it, and is the last that it says."""
    plan: dict[str, Any] = json.loads(sys.argv[1])
    confine(plan)
    os.execve(plan["command"][0], plan["command"], dict(os.environ))


def confine(plan: dict[str, Any]) -> None:
    """Irreversible, for a process of one thread. Raises OSError."""
    from glowplug.node.isolation import families, landlock, limits, syscalls

    for path in plan["groups"]:
        with open(path, "w") as file:
            file.write("0")
    syscalls.own_keyring()
    own = syscalls.CLONE_NEWNET if plan["no_network"] else 0
    own |= syscalls.CLONE_NEWIPC if plan["own_ipc"] else 0
    if own:
        leave(own, syscalls)
        if os.geteuid() != 0:
            # A user namespace came with them, and in it every capability: only an execution would drop them.
            syscalls.keep_capabilities(())
    # Not before: what a user namespace is made with counts for all namespaces of this user together.
    limits.apply(plan["tasks"])
    if plan["ids"]:
        first, count = plan["ids"]
        if count > 1:
            _own_users(first, count, syscalls)
            keep = (syscalls.CAP_SETUID, syscalls.CAP_SETGID, syscalls.CAP_KILL)
            syscalls.keep_capabilities(keep)
        else:
            os.setgroups([])
            os.setresgid(first, first, first)
            os.setresuid(first, first, first)
    syscalls.no_new_privileges()
    if plan["own_families"]:
        families.refuse_others()
    os.chdir(plan["folder"])
    if plan["landlock"]:
        rules = plan["landlock"]
        landlock.confine(rules["readable"], rules["writable"], rules["devices"])


def leave(own: int, syscalls: Any) -> None:
    """For namespaces of its own, of the network, and of what System V and POSIX let processes share by name:
    of that there is none in them, for it would outlive who made it, and who pays for its memory."""
    if os.geteuid() == 0:
        syscalls.unshare(own, "network or shared memory")
    else:
        syscalls.unshare_as_ourselves(own, "user, and network or shared memory")
    if own & syscalls.CLONE_NEWIPC:
        for name, none in _NONE_SHARED.items():
            try:
                with open(f"/proc/sys/{name}", "w") as file:
                    file.write(none)
            except OSError:
                continue  # what is shared there ends with the namespace


def _own_users(first: int, count: int, syscalls: Any) -> None:
    """Becomes 0 of a user namespace whose ids are `count` of the host's, from `first` on.

    A process that stays outside writes the map, for inside nobody may.
    """
    inside = os.getpid()
    ready, go = os.pipe2(os.O_CLOEXEC)
    outside = os.fork()
    if outside == 0:
        os.close(go)
        code = 1
        try:
            if os.read(ready, 1):
                for name in ("uid_map", "gid_map"):
                    with open(f"/proc/{inside}/{name}", "w") as file:
                        file.write(f"0 {first} {count}\n")
                code = 0
        finally:
            os._exit(code)
    os.close(ready)
    syscalls.unshare(syscalls.CLONE_NEWUSER, "user")
    os.write(go, b"x")
    os.close(go)
    _, status = os.waitpid(outside, 0)
    if status != 0:
        raise OSError("the ids of the user namespace could not be mapped")
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


if __name__ == "__main__":
    _bare_packages()
    main()
