"""What a server's functions hold, sampled from outside while it is under load."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType

from glowplug.bench.systems.processes import descendants, named
from glowplug.loader.pagecache import page_cache_bytes
from glowplug.node import agent_main
from glowplug.node.procfs import memory_fields

_TRIES = 5
_MOVED_BYTES = 4 * 2**20


def function_bytes(agent_pid: int, packs: Path) -> int:
    """Private bytes, shared ones once, and the resident pages of weights, of every function process.

    Anonymous memory is taken proportionally (Pss_Anon), so that what a fork shares counts once in the sum.
    The agent may itself be below `agent_pid`, and is none of them. Looking takes time, in which weights may
    go and others come: then it looks again, a few times, or both would count.
    """
    agent = next(iter(named(agent_main.NAME, descendants(agent_pid))), agent_pid)
    before = _resident_bytes(packs)
    for _ in range(_TRIES):
        held = 0
        for pid in descendants(agent):
            fields = memory_fields(pid)
            held += fields.get("Pss_Anon", 0) + fields.get("Pss_Shmem", 0)
        after = _resident_bytes(packs)
        moved = any(abs(after[pack] - before.get(pack, 0)) > _MOVED_BYTES for pack in after)
        if not moved and before.keys() == after.keys():
            break
        before = after
    return held + sum(after.values())


def _resident_bytes(packs: Path) -> dict[Path, int]:
    found = {}
    for pack in packs.glob("*.pack"):
        try:
            found[pack] = page_cache_bytes(pack)
        except OSError:
            continue  # collected between the listing and the look
    return found


class Sampler:
    """Samples in a thread of its own until the block is left; then `peak_bytes` and `samples` are final. A
    sample that fails ends the sampling, and is raised when the block is left well."""

    def __init__(self, agent_pid: int, packs: Path, every_s: float) -> None:
        self._agent_pid = agent_pid
        self._packs = packs
        self._every_s = every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self.samples: list[tuple[float, int]] = []
        self._error: Exception | None = None

    @property
    def peak_bytes(self) -> int:
        return max((held for _, held in self.samples), default=0)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while True:
                self.samples.append((time.monotonic(), function_bytes(self._agent_pid, self._packs)))
                if self._stopped.wait(self._every_s):
                    return
        except Exception as error:
            self._error = error
