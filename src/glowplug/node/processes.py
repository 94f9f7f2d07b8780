"""The agent's side of one process: its control socket, its pidfd, what it prints, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from glowplug.node import wire
from glowplug.node.messages import Fork, FromChild
from glowplug.node.printed import LINE_BYTES
from glowplug.transport.closing import close_peer, close_strange

_EXIT_GRACE_S = 0.25
_READ_BYTES = 65536
_LAST_WORDS_CHARS = 500
_BIRTH_S = 10.0
"""How long a zygote may take over a child that nobody wants any more."""
_LOOK_AGAIN_S = 0.02
_MESSAGES_AT_ONCE = 64
"""Who sends without end is read again when the others had their turn."""
OnMessage = Callable[["Process", Any, list[int]], None]
OnExit = Callable[["Process", str, int | None], None]
OnLines = Callable[["Process", str, list[bytes]], None]
"""Gets lines as they were printed (printed.py makes messages of them)."""


class Process:
    """A zygote or a child of one. Owned by the agent's event loop; every callback runs there.

    `on_exit` is called once, after the process is gone and its sockets are closed, and before that of those
    whom it takes along. A pending Fork counts as a process from the moment it is asked for.
    """

    def __init__(
        self, name: str, control: socket.socket, on_message: OnMessage, on_exit: OnExit, on_lines: OnLines
    ) -> None:
        self.name = name
        self.control = control
        self.pid = 0
        self.pending: deque[Process] = deque()
        self.children: dict[int, Process] = {}
        self.popen: subprocess.Popen[bytes] | None = None
        self.owner: Any = None
        self.last_words = ""
        """The last line that it wrote to stderr: the best account of why it ended."""
        self.exited = False
        self._handle = -1
        self._exit_code: int | None = None
        self._on_message, self._on_exit, self._on_lines = on_message, on_exit, on_lines
        self._loop = asyncio.get_running_loop()
        self._receiver = wire.Receiver(control, FromChild, close_strange)
        self._rests: dict[int, bytes] = {}
        self._kill_when_born = False
        self._unasked = False
        self._zygote: Process | None = None
        control.setblocking(False)
        self._loop.add_reader(control.fileno(), self._read_control)

    def born(self, pid: int, handle: int) -> None:
        """The process exists; `handle` is its pidfd, owned from now on."""
        self.pid, self._handle = pid, handle
        self._loop.add_reader(handle, self._ended)
        if self._kill_when_born:
            self.signal(signal.SIGKILL)

    def capture(self, descriptor: int, stream: str) -> None:
        """Reads what the process writes to one of its streams, until it closes it."""
        os.set_blocking(descriptor, False)
        self._rests[descriptor] = b""
        self._loop.add_reader(descriptor, self._read_stream, descriptor, stream)

    def send(self, message: msgspec.Struct, descriptors: tuple[int, ...] = ()) -> bool:
        """False when the process is gone or does not read."""
        try:
            wire.send(self.control, message, descriptors)
        except OSError:
            return False
        return True

    def fork(self, message: Fork, child: Process, descriptors: tuple[int, ...]) -> bool:
        """Asks this zygote for a child, which will be `born` when the answer comes. One that is dying takes
        it along. False when it is gone or does not read."""
        if self.exited:
            return False
        try:
            wire.send(self.control, message, descriptors)
        except ConnectionError:
            self.kill()  # nobody could ask anything of it any more
        except OSError:
            return False
        child._zygote = self
        self.pending.append(child)
        return True

    def signal(self, number: int) -> None:
        """By its pidfd, so to nobody else. One that is gone, or not born yet, gets none."""
        if self._handle >= 0:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """SIGKILL, now or as soon as it is born. A zygote that does not even fork ends with it: a function's
        own code may hold it up."""
        if self._zygote is not None and not self._kill_when_born and not self.pid:
            self._loop.call_later(_BIRTH_S, self._end_zygote, self._zygote)
        self._kill_when_born = True
        self.signal(signal.SIGKILL)

    def end(self) -> None:
        """As kill, where nobody asks how it ended: it is over as soon as the kernel has taken it down, its
        memory included, and not when its zygote has come to reap it."""
        self._unasked = True
        self.kill()

    def _end_zygote(self, zygote: Process) -> None:
        if not self.pid and not self.exited:
            zygote.kill()

    def child_exited(self, pid: int, code: int) -> None:
        """This zygote says that it reaped a child. One of a function's own code may say so of a child that
        lives on, which nobody would count any more."""
        child = self.children.pop(pid, None)
        if child is not None:
            child.signal(signal.SIGKILL)
            child._exit_code = code
            child._finish()

    def never_born(self, why: str) -> None:
        """Its zygote could not fork it, or is gone: `on_exit` tells."""
        self._finish(why)

    def _read_control(self) -> None:
        for _ in range(_MESSAGES_AT_ONCE):
            if self.exited:
                return
            try:
                found = self._receiver.receive(socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except msgspec.MsgspecError:
                self.kill()  # it does not speak our language: it is not ours any more
                return
            except OSError:
                found = None
            if found is None:
                self._loop.remove_reader(self.control.fileno())
                self.kill()  # it closed its end: nobody could ask anything of it any more
                return
            self._on_message(self, *found)

    def _read_stream(self, descriptor: int, stream: str) -> None:
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        lines = (self._rests[descriptor] + data).split(b"\n")
        self._rests[descriptor] = lines.pop()[:LINE_BYTES]
        if not data and self._rests[descriptor]:
            lines.append(self._rests[descriptor])
        if lines:
            if stream == "stderr":
                last = next((line for line in reversed(lines) if line.strip()), b"")
                self.last_words = last.decode("utf-8", "replace")[:_LAST_WORDS_CHARS] or self.last_words
            self._on_lines(self, stream, lines)
        if not data:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
            del self._rests[descriptor]

    def _ended(self) -> None:
        self._loop.remove_reader(self._handle)
        if self._unasked:
            self._finish()
        else:
            self._loop.call_later(_EXIT_GRACE_S, self._finish)

    def _finish_if_gone(self) -> None:
        if self._handle >= 0:
            poller = select.poll()
            poller.register(self._handle, select.POLLIN)
            if poller.poll(0):
                self._finish()

    def _finish(self, why: str = "") -> None:
        if self._zygote is not None and self._exit_code is None and not self._unasked:
            self._zygote._finish_if_gone()
        if not self.exited:
            self._read_control()  # which may end it: a child that was never born asks for its zygote
        if self.exited:
            return
        self.exited = True
        self._loop.remove_reader(self.control.fileno())
        close_peer(self.control)
        if self._handle >= 0:
            self._loop.remove_reader(self._handle)
            os.close(self._handle)
            self._handle = -1
        for descriptor, rest in list(self._rests.items()):
            self._read_stream(descriptor, "stderr" if rest else "stdout")
        self._on_exit(self, why or exit_reason(self._exit_code), self._exit_code)
        for child in self.pending:
            child.never_born(f"{self.name} is gone")


async def exit_status(popen: subprocess.Popen[bytes]) -> int:
    """Of a child that is dead, as soon as nobody traces it: a tracer reaps first."""
    while (code := popen.poll()) is None:
        await asyncio.sleep(_LOOK_AGAIN_S)
    return code


def exit_reason(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None:
        return "the process is gone"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exited with status {code}"
