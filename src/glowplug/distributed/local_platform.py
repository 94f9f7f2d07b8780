"""A function platform on this machine: processes forked from one that has imported what they need, ended with
whoever started it."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import select
import selectors
import signal
import socket
import tempfile
import time

import msgspec

from glowplug.distributed.caps import Cap, Caps
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.errors import PlatformError
from glowplug.distributed.platform import Deployment, Ended, Event
from glowplug.distributed.platform_line import SocketLine, Told
from glowplug.distributed.start import Place, Start
from glowplug.distributed.zygote import LONGEST_WAIT_S, Zygote, how, last_words

_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_SMALLEST_CAP_BYTES = 2**20


class _Process:
    """A worker."""

    def __init__(self, zygote: Zygote, place: Place, timeout_s: float) -> None:
        """It waits for its start message. Raises PlatformError, DeadlinePassed, OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reads, self._start = os.pipe2(os.O_CLOEXEC)
        self.place = place
        self.line = SocketLine(ours)
        self.began_s = time.monotonic()
        self._zygote = zygote
        self._cap: Cap | None = None
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process is reaped
        try:
            self.pid, self.handle, self.shared_bytes = zygote.fork(
                reads, self._words.fileno(), theirs.fileno(), timeout_s
            )
        except BaseException:
            os.close(self._start)
            self._words.close()
            ours.close()
            raise
        finally:
            os.close(reads)
            theirs.close()

    def hold_to(self, cap: Cap) -> None:
        self._cap = cap
        cap.add(self.pid)

    def tell(self, start: Start) -> None:
        """One that is gone already is no error: its end will be told."""
        self.began_s = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            if start.memory_bytes and self._cap is None:
                resource.prlimit(self.pid, resource.RLIMIT_AS, (start.memory_bytes, start.memory_bytes))
        with contextlib.suppress(BrokenPipeError), open(self._start, "wb") as pipe:
            pipe.write(msgspec.json.encode(start))

    def reap(self) -> Ended:
        """After it is gone."""
        ran_s = time.monotonic() - self.began_s
        try:
            code, peak_bytes = msgspec.structs.astuple(self._zygote.reap(self.pid))
            said = how(code, last_words(self._words))
        except PlatformError as error:
            select.select([self.handle], [], [])
            said, peak_bytes = f"went with what it was forked from: {error.message}", 0
        self._words.close()
        self.line.close()
        os.close(self.handle)
        out_of_memory = False
        if self._cap is not None:
            out_of_memory = self._cap.out_of_memory()
            self._cap.remove()
        return Ended(said, ran_s, peak_bytes, out_of_memory)


class LocalPlatform:
    """Not for several threads. Each worker computes with one.

    With `caps` each process may hold `memory_bytes`, what it shares with its zygote included; without, its
    address space is limited when it begins.
    """

    def __init__(self, deployed: Deployment, caps: Caps | None = None, memory_bytes: int = 0) -> None:
        """Raises OSError where no process can be made."""
        self._caps, self._memory_bytes = caps if memory_bytes else None, memory_bytes
        self._names = itertools.count()
        self._environment = {**os.environ, **dict.fromkeys(_THREAD_LIMITS, "1")}
        self._selector = selectors.DefaultSelector()
        self._processes: list[_Process] = []
        self._deployed = deployed
        self._zygotes = [self._zygote()]

    @property
    def meter(self) -> Meter:
        """Processes cost no calls."""
        return Meter()

    def begin(self, start: Start) -> None:
        """Raises OSError where no process can be made, PlatformError where none can import what it needs,
        DeadlinePassed where that takes too long."""
        try:
            process = _Process(self._zygotes[-1], start.place, start.deadline_s)
        except PlatformError:
            if not self._zygotes[-1].has_forked:
                raise
            self._zygotes.append(self._zygote())
            process = _Process(self._zygotes[-1], start.place, start.deadline_s)
        self._processes.append(process)
        self._selector.register(process.line, selectors.EVENT_READ, process)
        self._selector.register(process.handle, selectors.EVENT_READ, process)
        if self._caps is not None:
            left_bytes = max(_SMALLEST_CAP_BYTES, self._memory_bytes - process.shared_bytes)
            process.hold_to(self._caps.cap(f"worker-{next(self._names)}", left_bytes))
        process.tell(start)

    def events(self, timeout_s: float) -> list[Event]:
        ready = self._selector.select(min(timeout_s, LONGEST_WAIT_S))
        found: list[Event] = []
        for process in dict.fromkeys(key.data for key, _ in ready):
            told: list[Told | Ended] = [*process.line.heard()]
            if any(key.fd == process.handle for key, _ in ready):
                told += process.line.heard()
                told.append(self._reap(process))
            elif process.line.is_over and process.line in self._selector.get_map():
                self._selector.unregister(process.line)
            found += [(process.place, what) for what in told]
        return found

    def end_all(self) -> list[Event]:
        """Ends every process, and returns when they are gone."""
        processes = list(self._processes)
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process.handle, signal.SIGKILL)
        return [(process.place, self._reap(process)) for process in processes]

    def close(self) -> None:
        self.end_all()
        for zygote in self._zygotes:
            zygote.close()
        self._selector.close()

    def _zygote(self) -> Zygote:
        return Zygote(self._environment, self._deployed.address, self._deployed.work)

    def _reap(self, process: _Process) -> Ended:
        self._processes.remove(process)
        if process.line in self._selector.get_map():
            self._selector.unregister(process.line)
        self._selector.unregister(process.handle)
        return process.reap()
