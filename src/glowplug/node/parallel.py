"""Compute threads across a fork.

OpenMP keeps a pool of threads that a fork does not copy: a child that meets the pool's ghost waits for ever.
`rest_threads` ends the pool through OpenMP's own `omp_pause_resource_all`, after which forking is safe and
the next parallel region makes a new pool. NumPy's OpenBLAS starts its threads at import: zygotes start with
one (OPENBLAS_NUM_THREADS=1) and their children set the number back.

The number is OpenMP's own setting, not torch's: `torch.set_num_threads` makes a second pool of threads at
once, and a process that has one must not fork.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

_OMP_PAUSE_HARD = 2
_found: dict[str, Any] = {}


def _loaded_library(part: str) -> Any:
    """The shared library whose file name holds `part`, if this process has mapped one by now."""
    if part in _found:
        return _found[part]
    with open("/proc/self/maps") as maps:
        for line in maps:
            path = line.rstrip("\n").rpartition(" ")[2]
            if part in path.rpartition("/")[2]:
                return _found.setdefault(part, ctypes.CDLL(path))
    return None


def set_threads(count: int) -> None:
    """How many threads compute in this process and its children from now on, whatever is imported later."""
    if os.environ.get("GLOWPLUG_THREADS") == str(count):
        return
    os.environ["GLOWPLUG_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(count)
    library = _loaded_library("libgomp")
    if library is not None:
        library.omp_set_num_threads(count)


def keep_threads() -> None:
    """For a thread that a worker starts: it computes with as many as the worker's first one. OpenMP keeps the
    number for each thread that asks, and a new one would begin with all cores."""
    count, torch = os.environ.get("GLOWPLUG_THREADS", ""), sys.modules.get("torch")
    try:
        library = _loaded_library("libgomp")
    except OSError:  # no file can be opened: a pool one of whose threads does not start never works again
        return
    if library is None or not count.isdecimal():
        return
    if torch is not None:
        torch.get_num_threads()  # where a thread first asks, torch sets a number of its own
    library.omp_set_num_threads(int(count))


def rest_threads() -> None:
    """Ends OpenMP's idle threads, where the runtime can."""
    library = _loaded_library("libgomp")
    if library is not None and hasattr(library, "omp_pause_resource_all"):
        library.omp_pause_resource_all(_OMP_PAUSE_HARD)


def restore_threads() -> None:
    """Gives NumPy's OpenBLAS the threads that the zygote held back, unless torch computes here.

    A new OpenBLAS thread spins for tens of milliseconds before it first sleeps: beside torch's own threads
    that takes a core from a cold request (MiniLM's first forward: 77 ms instead of 30, on two cores).
    """
    if "torch" in sys.modules:
        return
    count = int(os.environ.get("GLOWPLUG_THREADS", "0")) or len(os.sched_getaffinity(0))
    library = _loaded_library("openblas")
    for name in (
        "scipy_openblas_set_num_threads64_",
        "openblas_set_num_threads64_",
        "openblas_set_num_threads",
    ):
        if library is not None and hasattr(library, name):
            getattr(library, name)(count)
            return
