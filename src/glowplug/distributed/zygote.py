"""The zygote of a run's workers, as the platform has it: forks on request, and tells how forks ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import IO, NamedTuple

import msgspec

from glowplug.core.errors import DeadlinePassed
from glowplug.distributed.channels.base import Address
from glowplug.distributed.errors import PlatformError
from glowplug.distributed.start import Work
from glowplug.distributed.zygote_main import MOST_BYTES, Fork, Forked, Prepare, Reap, Reaped, Request

_LAST_WORDS_BYTES = 2000
_LEAST_S = 0.001
LONGEST_WAIT_S = 2e6
"""The kernel counts milliseconds of a wait in 31 bits."""


class Child(NamedTuple):
    """`handle` is a descriptor of the process; `shared_bytes` of its memory are the zygote's."""

    pid: int
    handle: int
    shared_bytes: int


class Zygote:
    """Begins at once to import what workers over a channel at `address` need for their `work`."""

    def __init__(self, environment: Mapping[str, str], address: Address, work: Work = "network") -> None:
        """Raises OSError."""
        self.has_forked = False
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the zygote
        command = [sys.executable, "-m", "glowplug.distributed.zygote_main"]
        try:
            self._popen = subprocess.Popen(
                [*command, str(theirs.fileno()), str(os.getpid())], stdin=subprocess.DEVNULL,
                stdout=self._words, stderr=self._words, pass_fds=(theirs.fileno(),),
                env=dict(environment), start_new_session=True,
            )  # fmt: skip
        except BaseException:
            self._words.close()
            self._control.close()
            raise
        finally:
            theirs.close()
        with contextlib.suppress(OSError):  # it is gone, and whoever asks for a fork is told
            self._control.send(msgspec.json.encode(Prepare(address, work)))

    def fork(self, start: int, output: int, line: int, timeout_s: float) -> Child:
        """A process with these descriptors. Waits for the imports. Raises PlatformError where the zygote is
        gone, DeadlinePassed where it does not answer; it is gone then."""
        bounded_s = min(max(timeout_s, _LEAST_S), LONGEST_WAIT_S)
        answer, handles = self._ask(Fork(), [start, output, line], bounded_s)
        forked = msgspec.json.decode(answer, type=Forked)
        self.has_forked = True
        return Child(forked.pid, handles[0], forked.held_bytes)

    def reap(self, pid: int) -> Reaped:
        """After it ended. Raises PlatformError where the zygote is gone, which took it along."""
        return msgspec.json.decode(self._ask(Reap(pid))[0], type=Reaped)

    def close(self) -> None:
        """Ends it, and what it forked."""
        self._control.close()
        self._popen.kill()
        self._popen.wait()
        self._words.close()

    def _ask(
        self, request: Request, descriptors: list[int] | None = None, timeout_s: float | None = None
    ) -> tuple[bytes, list[int]]:
        answer = b""
        self._control.settimeout(timeout_s)
        try:
            with contextlib.suppress(OSError):
                socket.send_fds(self._control, [msgspec.json.encode(request)], descriptors or [])
                try:
                    answer, handles, _, _ = socket.recv_fds(self._control, MOST_BYTES, 1)
                except TimeoutError as error:
                    raise DeadlinePassed("what workers are forked from imports what they need") from error
                if answer:
                    return answer, handles
        finally:
            if not answer:  # an answer that nobody waited for would be taken for the next one's
                self._popen.kill()
        self._popen.wait()
        words = last_words(self._words)
        raise PlatformError(f"what workers are forked from {how(self._popen.returncode, words)}")


def last_words(file: IO[bytes]) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_WORDS_BYTES))
    return file.read().decode("utf-8", "replace").strip()


def how(code: int, words: str) -> str:
    """A process ended, in words: its exit code, or less the signal's number."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"was killed by {name}"
    last = words.splitlines()[-1] if words else ""
    return f"ended with status {code}" + (f": {last}" if last else "")
