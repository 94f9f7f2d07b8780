"""A function's share of its node: how far it stands back for cores and disks, and how many threads compute.

Niceness and threads are set in a child between its fork and its first line of user code, and its own children
keep them: a function's zygote rehearses with the very number of threads that its workers have, so that both
give the same bits.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection
from pathlib import Path

from glowplug.core.priority import BUILD_NICE, NICE
from glowplug.core.specs import Declaration, FunctionSpec
from glowplug.loader.arbiter import Priority as IoClass
from glowplug.node.parallel import set_threads

_TRIES = 80
_PAUSE_S = 0.025
"""The kernel lets users change the weight of one group every 0.1 s, of all that there are: who comes with
a dozen others waits for their turns."""


def nice_of(spec: FunctionSpec, building: bool) -> int:
    nice = NICE[spec.rank]
    return max(nice, BUILD_NICE) if building else nice


def threads_of(spec: FunctionSpec, cores: int, on_device: int = 1) -> int:
    """Compute threads of one worker. Undeclared, those of all workers together are the cores of the node; on
    a device `on_device`."""
    declaration = spec.declaration
    if declaration.device != "cpu":
        return declaration.threads or on_device
    return declaration.threads or max(1, cores // max(1, declaration.max_workers))


def workers_here(declaration: Declaration, devices: int) -> int:
    """How many workers of a function a node with so many devices may have at once."""
    if declaration.device == "cpu":
        return declaration.max_workers
    return max(1, min(declaration.max_workers, devices))


def io_class(rank: int) -> IoClass:
    """In which class the loader's arbiter reads for who waits; 0 is nobody."""
    return IoClass(max(0, rank - 1))


def take(nice: int, threads: int, cores: Collection[int] = ()) -> None:
    """Called by a process that leads a session of its own. It keeps to `cores`, if any: whoever already has
    other threads is on a device whose cores are its own, and those keep to them since they were made."""
    if cores:
        os.sched_setaffinity(0, cores)
    if threads:
        set_threads(threads)
    if nice:
        step_back(nice)


def step_back(nice: int) -> bool:
    """Gives way to whoever is less nice. It cannot be undone without privileges.

    Where the kernel groups processes by session (autogroup), niceness counts inside a session only, and what
    counts between them is the group's own, which is set too. Waits for up to two seconds, in what gives
    way anyway, when other groups were set just before. False when the group's could not be set.
    """
    for task in Path("/proc/self/task").iterdir():  # each thread has a niceness of its own
        with contextlib.suppress(ProcessLookupError):
            thread = int(task.name)
            os.setpriority(os.PRIO_PROCESS, thread, max(nice, os.getpriority(os.PRIO_PROCESS, thread)))
    for _ in range(_TRIES):
        try:
            with open("/proc/self/autogroup", "w") as file:
                file.write(str(nice))
        except BlockingIOError:
            time.sleep(_PAUSE_S)
        except OSError:
            return False  # not such a kernel, or a group of its own has a weight of its own
        else:
            return True
    return False
