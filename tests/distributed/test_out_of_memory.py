"""Whoever says that there is no memory, and however, is understood."""

from __future__ import annotations

import errno

import pytest

from glowplug.core.errors import OutOfMemory
from glowplug.distributed.errors import is_out_of_memory
from glowplug.distributed.platform_line import Failure
from glowplug.distributed.start import Place, Start
from glowplug.distributed.worker import tell_failures
from tests.distributed.threads import ThreadLine

SAID = [
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("can't start new thread"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
]


@pytest.mark.parametrize("error", SAID, ids=repr)
def test_a_worker_tells_it_so(error: Exception) -> None:
    def do() -> None:
        try:
            raise error
        except Exception as cause:
            raise ValueError("it cannot be read") from cause

    line = ThreadLine()
    assert tell_failures(Start(orders="", place=Place("run", 3), deadline_s=1.0), line, do) == 1
    (told,) = line.told
    assert isinstance(told, Failure)
    assert (told.code, told.message) == (OutOfMemory.code, "worker 3 needs more than this machine has")


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError(errno.ENOENT, "no"), None])
def test_other_errors_are_not_that(error: Exception | None) -> None:
    assert not is_out_of_memory(error)
