"""A function platform on this machine: a fresh interpreter for each worker, ended with whoever started it."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

import msgspec

from glowplug.distributed.caps import Cap, Caps
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.platform import Ended, Event
from glowplug.distributed.platform_line import SocketLine, Told
from glowplug.distributed.start import Place, Start

_LAST_WORDS_BYTES = 2000
_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class _Process:
    """A worker, or a spare that becomes one."""

    def __init__(self, environment: Mapping[str, str], cap: Cap | None, *, is_spare: bool) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.place: Place | None = None
        self.line = SocketLine(ours)
        self.began_s = time.monotonic()
        self._cap = cap
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process is reaped
        command = [
            sys.executable,
            "-m",
            "glowplug.distributed.worker",
            str(theirs.fileno()),
            str(os.getpid()),
        ]
        try:
            self.popen = subprocess.Popen(
                [*command, "spare"] if is_spare else command, stdin=subprocess.PIPE,
                stdout=self._words, stderr=self._words, pass_fds=(theirs.fileno(),),
                env=dict(environment), start_new_session=True,
            )  # fmt: skip
        except BaseException:
            self._words.close()
            ours.close()
            if cap is not None:
                cap.remove()
            raise
        finally:
            theirs.close()
        self.handle = os.pidfd_open(self.popen.pid)
        if cap is not None:
            cap.add(self.popen.pid)

    def tell(self, start: Start) -> None:
        """Raises BrokenPipeError where it is gone already."""
        assert self.popen.stdin is not None
        self.place, self.began_s = start.place, time.monotonic()
        if start.memory_bytes and self._cap is None:
            resource.prlimit(self.popen.pid, resource.RLIMIT_AS, (start.memory_bytes, start.memory_bytes))
        self.popen.stdin.write(msgspec.json.encode(start))
        self.popen.stdin.close()

    def reap(self) -> Ended:
        """After it is gone."""
        _, status, usage = os.wait4(self.popen.pid, 0)
        ran_s = time.monotonic() - self.began_s
        self.popen.returncode = os.waitstatus_to_exitcode(status)
        self._words.seek(max(0, self._words.seek(0, os.SEEK_END) - _LAST_WORDS_BYTES))
        words = self._words.read().decode("utf-8", "replace").strip()
        self._words.close()
        assert self.popen.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.popen.stdin.close()
        self.line.close()
        os.close(self.handle)
        out_of_memory = False
        if self._cap is not None:
            out_of_memory = self._cap.out_of_memory()
            self._cap.remove()
        return Ended(_how(self.popen.returncode, words), ran_s, usage.ru_maxrss * 1024, out_of_memory)


class LocalPlatform:
    """Not for several threads. Each worker computes with one.

    With `caps` each process may hold `memory_bytes` from its birth; without, its address space is limited
    when it begins.
    """

    def __init__(self, caps: Caps | None = None, memory_bytes: int = 0) -> None:
        self._caps, self._memory_bytes = caps if memory_bytes else None, memory_bytes
        self._names = itertools.count()
        self._environment = {**os.environ, **dict.fromkeys(_THREAD_LIMITS, "1")}
        self._selector = selectors.DefaultSelector()
        self._processes: list[_Process] = []

    @property
    def meter(self) -> Meter:
        """Processes cost no calls."""
        return Meter()

    def begin(self, start: Start) -> None:
        """Takes a spare where there is one. Raises OSError where no process can be made."""
        for spare in [process for process in self._processes if process.place is None]:
            try:
                spare.tell(start)
            except BrokenPipeError:
                continue  # its end will be told
            return
        with contextlib.suppress(BrokenPipeError):
            self._add(is_spare=False).tell(start)

    def add_spare(self) -> None:
        """An interpreter that has imported everything, for the next that is begun."""
        self._add(is_spare=True)

    def events(self, timeout_s: float) -> list[Event]:
        ready = self._selector.select(timeout_s)
        found: list[Event] = []
        for process in dict.fromkeys(key.data for key, _ in ready):
            told: list[Told | Ended] = [*process.line.heard()]
            if any(key.fd == process.handle for key, _ in ready):
                told += process.line.heard()
                told.append(self._reap(process))
            elif process.line.is_over and process.line in self._selector.get_map():
                self._selector.unregister(process.line)
            if process.place is not None:
                found += [(process.place, what) for what in told]
        return found

    def end_all(self) -> list[Event]:
        """Ends every process, and returns when they are gone."""
        processes = list(self._processes)
        for process in processes:
            signal.pidfd_send_signal(process.handle, signal.SIGKILL)
        ended = [(process.place, self._reap(process)) for process in processes]
        return [(place, how) for place, how in ended if place is not None]

    def close(self) -> None:
        self.end_all()
        self._selector.close()

    def _add(self, *, is_spare: bool) -> _Process:
        cap = None
        if self._caps is not None:
            cap = self._caps.cap(f"worker-{next(self._names)}", self._memory_bytes)
        process = _Process(self._environment, cap, is_spare=is_spare)
        self._processes.append(process)
        self._selector.register(process.line, selectors.EVENT_READ, process)
        self._selector.register(process.handle, selectors.EVENT_READ, process)
        return process

    def _reap(self, process: _Process) -> Ended:
        self._processes.remove(process)
        if process.line in self._selector.get_map():
            self._selector.unregister(process.line)
        self._selector.unregister(process.handle)
        return process.reap()


def _how(code: int, words: str) -> str:
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"was killed by {name}"
    last = words.splitlines()[-1] if words else ""
    return f"ended with status {code}" + (f": {last}" if last else "")
