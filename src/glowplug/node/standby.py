"""One interpreter in reserve, for the next environment whose packages are the server's own.

Starting an interpreter and importing what every zygote needs takes longer than all else that a climb from
`local` does beside importing the environment's libraries. So one process has that behind it and waits for
its plan: whose it is, what it may touch, what it imports. It then confines itself and is the environment's
zygote; the next one is started once that has imported. It holds no secret and no descriptor but its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from typing import Any

import msgspec

from glowplug.core.forks import die_with_parent
from glowplug.node import wire, zygote
from glowplug.node.imports import lasting_threads
from glowplug.node.isolation import launch, syscalls

NAME = "glowplug-standby"
"""While it waits."""
COMMAND = "from glowplug.node.standby import main; main()"
_ROOM = " " * 2000
"""For the words of the zygote that it becomes, where ps shows them."""
_NOWHERE = {"HOME": "/nonexistent", "TMPDIR": "/nonexistent"}
"""Until it has a place of its own."""


class Begin(msgspec.Struct, frozen=True):
    """What makes the process in reserve an environment's zygote. `plan` is that of `isolation/launch.py`."""

    plan: dict[str, Any]
    libraries: list[str]
    variables: dict[str, str]


class Ready:
    """A process that waits: its end is the agent's to see, its pipes (read, write) are to be captured."""

    def __init__(self, variables: dict[str, str]) -> None:
        self.control, theirs = wire.socket_pair()
        self.pipes = wire.output_pipes()
        try:
            self.popen = subprocess.Popen(
                [sys.executable, "-c", COMMAND, str(theirs.fileno()), str(os.getpid()), _ROOM],
                stdin=subprocess.DEVNULL, stdout=self.pipes[0][1], stderr=self.pipes[1][1],
                pass_fds=(theirs.fileno(),), env=variables | _NOWHERE, start_new_session=True, cwd="/",
            )  # fmt: skip
        except OSError:
            self._close()
            raise
        finally:
            theirs.close()
            wire.close_all([pipe[1] for pipe in self.pipes])

    def begin(self, message: Begin) -> bool:
        """False when it is gone, and nothing is left of it then."""
        if self.popen.poll() is None:
            with contextlib.suppress(OSError, ValueError):
                wire.send(self.control, message)
                return True
        self.end()
        return False

    def end(self) -> None:
        """Nobody needs it."""
        self.popen.kill()
        self.popen.wait()
        self._close()

    def _close(self) -> None:
        self.control.close()
        wire.close_all([pipe[0] for pipe in self.pipes])


class Standby:
    """At most one process, of the agent's event loop."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = variables
        self._ready: Ready | None = None
        self._closed = False

    def refill(self) -> None:
        """Starts one when there is none; without one, environments begin as those of other packages do."""
        if self._ready is None and not self._closed:
            with contextlib.suppress(OSError):
                self._ready = Ready(self._variables)

    def take(self, message: Begin) -> Ready | None:
        """The process that is this environment's zygote from now on; None when there was none."""
        ready, self._ready = self._ready, None
        return ready if ready is not None and ready.begin(message) else None

    def close(self) -> None:
        """Ends it; there will be no other."""
        ready, self._ready, self._closed = self._ready, None, True
        if ready is not None:
            ready.end()


def main() -> None:
    """The process in reserve: `python -c COMMAND DESCRIPTOR PARENT ROOM`."""
    sock, parent = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    syscalls.name_process(NAME)
    die_with_parent(parent)
    from glowplug.node import roles  # noqa: F401  what every zygote imports beside its libraries

    found = wire.Receiver(sock, Begin).receive()
    if found is None:
        return
    message: Begin = found[0]
    os.environ.update(message.variables)
    command = [sys.executable, "-c", zygote.COMMAND, str(sock.fileno()), str(parent), *message.libraries]
    if lasting_threads():
        # Only a process of one thread can be confined whole. What left the others here is found out as ever.
        sock.set_inheritable(True)
        plan = json.dumps(message.plan | {"command": command})
        os.execv(sys.executable, [sys.executable, "-I", "-S", launch.__file__, plan])
    launch.confine(message.plan)
    syscalls.own_proc_files()
    syscalls.show_command(command)
    zygote.run(sock, parent, message.libraries, command)
