"""What is asked of processes, ours and others', by way of /proc."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from glowplug.bench.systems.processes import command_line, command_name, living, named

FOREIGN = b"caf\xe9"
"""No UTF-8: what somebody else's process may be started with and call itself."""

CODE = b"open('/proc/self/comm', 'wb').write(b'caf\\xe9'); print(flush=True); input()"


@pytest.fixture
def foreign() -> Iterator[int]:
    """A process with words and a name that are not UTF-8; ready when given."""
    program = subprocess.Popen(
        [sys.executable, "-c", CODE, FOREIGN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with program:
        assert program.stdout is not None
        program.stdout.readline()
        yield program.pid
        program.kill()


def test_words_and_names_that_are_no_text(foreign: int) -> None:
    assert os.fsencode(command_line(foreign)[-1]) == FOREIGN
    assert os.fsencode(command_name(foreign)) == FOREIGN
    assert named(os.fsdecode(FOREIGN), [os.getpid(), foreign]) == [foreign]
    assert living([foreign]) == [foreign]


def test_who_is_gone_has_neither() -> None:
    program = subprocess.Popen([sys.executable, "-c", ""])
    program.wait()
    assert command_line(program.pid) == []
    assert command_name(program.pid) == ""
    assert living([program.pid]) == []
