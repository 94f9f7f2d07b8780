"""One cell of experiment `loading`: one load, from store to first answer, in this process."""

from __future__ import annotations

import gc
import mmap
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from glowplug.bench.loading.models import Subject, answer_of
from glowplug.loader import evict_page_cache, page_cache_bytes
from glowplug.loader.arena import NO_ARENA, Arena
from glowplug.loader.devices import device
from glowplug.loader.pipeline import Loading, begin
from glowplug.loader.sources import open_source
from glowplug.loader.sources.base import WeightSource
from glowplug.loader.sources.file import open_file
from glowplug.loader.sources.memory import MemorySource
from glowplug.loader.sources.throttled import ThrottledSource
from glowplug.loader.stages import Timeline
from glowplug.loader.strategies import strategy
from glowplug.node.procfs import give_back_memory

if TYPE_CHECKING:
    from torch import Tensor

LATENCY_S = 1e-3


class Store(msgspec.Struct, frozen=True):
    """Where a pack comes from: this machine's disk, or a store on paper of so many bytes a second."""

    source: str
    cache: str
    bandwidth_bytes_s: float | None = None

    @property
    def verified(self) -> bool:
        """Whether every system checks what it reads: what comes over a line, and not what lies on this disk,
        where it was checked when it came."""
        return self.source != "disk"


DISK_WARM, DISK_COLD = Store("disk", "warm"), Store("disk", "cold")


def throttled(bandwidth_bytes_s: float) -> Store:
    """A store with this bandwidth and LATENCY_S for each read, whose bytes come from this process's
    memory.
    """
    return Store("store", "-", bandwidth_bytes_s)


class Measured(msgspec.Struct, frozen=True):
    """Seconds from before the first byte is read to the first answer, and of the next forward; is the
    answer the plain one's, bit for bit?"""

    first_answer_s: float
    second_forward_s: float
    equal: bool


class Bytes:
    """A pack's bytes in memory, for stores on paper; read once per model."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()


def open_store(store: Store, subject: Subject, held: Bytes | None) -> WeightSource:
    """The subject's pack in that store; on a disk, in or out of the page cache as the store says."""
    if store.bandwidth_bytes_s is not None:
        assert held is not None
        memory = MemorySource(held.data, f"{subject.name}.pack")
        return ThrottledSource(memory, bandwidth_bytes_s=store.bandwidth_bytes_s, latency_s=LATENCY_S)
    prepare_cache([subject.pack], store.cache)
    return open_source(subject.pack)


def prepare_cache(files: Sequence[Path], cache: str) -> None:
    """Brings the files into the page cache, or out of it. Raises RuntimeError where they stay: some
    process, this one perhaps, has them mapped, and what is measured would not be cold."""
    gc.collect()  # a model that is gone but for its cycles holds its mapping
    for file in files:
        if cache == "warm":
            file.read_bytes()
            continue
        evict_page_cache(file)
        kept = page_cache_bytes(file)
        if kept > file.stat().st_size // 50:
            raise RuntimeError(f"{file.name}: {kept} bytes stay in the page cache")


def measure(
    system: str, subject: Subject, store: Store, held: Bytes | None, arena: Arena = NO_ARENA
) -> Measured:
    """Loads and runs once, then once more. Leaves nothing behind."""
    import torch

    source = open_store(store, subject, held)
    gc.collect()
    arena.prepare(subject.nbytes)
    start_s = time.perf_counter()
    loading = _begin(system, source, subject, arena, store.verified)
    with torch.inference_mode():
        answer = answer_of(loading.model, subject.inputs)
        first_s = time.perf_counter() - start_s
        loading.wait()
        again_s = time.perf_counter()
        answer_of(loading.model, subject.inputs)
        second_s = time.perf_counter() - again_s
        equal = torch.equal(answer, subject.expected)
    del loading
    gc.collect()
    return Measured(first_s, second_s, equal)


def watch(
    system: str, subject: Subject, store: Store, held: Bytes | None, arena: Arena = NO_ARENA
) -> tuple[Timeline, int]:
    """(what happened when, bytes held at the peak above the model's own and a warm forward's): one load more,
    not timed, for watching costs."""
    import torch

    source = open_store(store, subject, held)
    gc.collect()
    arena.prepare(subject.nbytes)
    give_back_memory()
    before = _resident() - arena.held_bytes  # what waits in the arena is nobody's
    _reset_peak()
    loading = _begin(system, source, subject, arena, store.verified, watched=True)
    with torch.inference_mode():
        answer_of(loading.model, subject.inputs)
        timeline = loading.finish()
        loading.wait()
        peak = _peak() - arena.held_bytes
        give_back_memory()
        settled = _resident()
        _reset_peak()
        answer_of(loading.model, subject.inputs)
        forward = max(0, _peak() - settled)
    del loading
    gc.collect()
    return timeline, max(0, peak - before - subject.nbytes - forward)


def _begin(
    system: str, source: WeightSource, subject: Subject, arena: Arena, verify: bool, watched: bool = False
) -> Loading:
    chosen = strategy(system, mappable=source.advice.mappable)
    return begin(
        source, chosen, device=device("cpu"), build=subject.build, arena=arena, watched=watched, verify=verify
    )


def floor_s(
    subject: Subject,
    forward_s: float,
    bandwidth_bytes_s: float,
    latency_s: float,
    fill_bytes_s: float,
    cores: int,
    threads: int,
) -> float:
    """What no loader can beat: the last unit's arrival, and what must be computed after each unit has
    come; or the work of computing and copying, shared by the cores. `forward_s` is what a warm forward took
    beside the loads that are judged; of it each unit has its share. `papers.md` of the design has the
    derivation. It leaves out the head's read, the build, the checksums, and what two threads that compute
    lose when a third takes one of their cores (decision 075)."""
    rate = min(bandwidth_bytes_s, fill_bytes_s)
    pace = forward_s / (sum(subject.compute_s) or 1.0)
    arrived_s, left_s, least_s = latency_s, forward_s, 0.0
    for unit, compute_s in zip(subject.info.units, subject.compute_s, strict=True):
        arrived_s += unit.nbytes / rate
        least_s = max(least_s, arrived_s + left_s)
        left_s -= compute_s * pace
    work_s = (threads * forward_s + subject.nbytes / fill_bytes_s) / cores
    return max(least_s, work_s)


def _resident() -> int:
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the kernel does not tell {name}")


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def disk_bandwidth(path: Path) -> float:
    """Bytes a second at which this file comes from the disk, past the page cache: the most that the disk
    gives.
    """
    prepare_cache([path], "cold")
    source = open_file(path, direct=True)
    start_s = time.perf_counter()
    read_all(source)
    took_s = time.perf_counter() - start_s
    source.close()
    return source.size / took_s


def read_all(source: WeightSource) -> None:
    """Reads it once as it advises, one place for all: nobody looks at what comes."""
    step = source.advice.read_bytes
    room = memoryview(mmap.mmap(-1, step))

    def read(offset: int) -> None:
        source.read_into(room, offset, min(step, source.size - offset))

    with ThreadPoolExecutor(source.advice.parallel) as threads:
        list(threads.map(read, range(0, source.size, step)))


def fill_bandwidth(nbytes: int = 256 * 2**20) -> float:
    """Bytes a second at which one core copies into memory that was touched before."""
    import torch

    source, target = torch.ones(nbytes, dtype=torch.uint8), torch.zeros(nbytes, dtype=torch.uint8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return nbytes / min(_copy_s(source, target) for _ in range(5))
    finally:
        torch.set_num_threads(threads)


def _copy_s(source: Tensor, target: Tensor) -> float:
    start_s = time.perf_counter()
    target.copy_(source)
    return time.perf_counter() - start_s
