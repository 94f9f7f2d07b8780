"""Processes of users that trace one of ours, and reap it before we can: the agent waits for none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from glowplug.core.events import StepLost, StepReached
from glowplug.core.ladder import Step
from tests.wheels import make_source, make_wheel

from .conftest import NodeUnderTest
from .packages import climb, from_shelf, outcome_of, required

pytestmark = pytest.mark.e2e

TRACE = """
import ctypes, os, signal

def trace(pid):
    answer, told = os.pipe()
    if os.fork() == 0:
        os.setsid()
        libc = ctypes.CDLL(None)
        os.write(told, b"%d" % (libc.ptrace(0x4206, pid, None, None) == 0))
        os.closerange(0, 256)
        try:
            while True:
                stopped = os.waitid(os.P_PID, pid, os.WSTOPPED)
                libc.ptrace(7, pid, None, stopped.si_status)
        finally:
            signal.pause()
    os.close(told)
    return os.read(answer, 1) == b"1"
"""


def test_an_environment_whose_zygote_is_traced(on_node: Callable[..., None], shelf: Path) -> None:
    make_wheel(shelf, "tiny", "1.0", f"{TRACE}\nprint('traced', trace(os.getpid()), flush=True)")

    async def scenario(node: NodeUnderTest) -> None:
        spec = await required(node, *from_shelf(shelf, "tiny"), libraries=("tiny",))
        assert isinstance(await node.import_environment(spec), StepReached)
        lost = await node.descend("environment", spec.environment_key, Step.LOCAL)
        assert isinstance(lost, StepLost)
        assert isinstance(await node.import_environment(spec), StepReached)
        if "traced True" not in str(node.said):
            pytest.skip("this host lets nobody trace")

    on_node(scenario)


def test_an_installer_that_is_traced(on_node: Callable[..., None], shelf: Path) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        told: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            told.set_result(await reader.read())
            writer.close()

        async with await asyncio.start_server(hear, "127.0.0.1") as door:
            port = door.sockets[0].getsockname()[1]
            tell = f"import socket; socket.create_connection(('127.0.0.1', {port})).sendall(b'%d' % traced)"
            make_source(shelf, "tiny", "1.0", f"{TRACE}\ntraced = trace(os.getsid(0))\n{tell}")
            spec = await required(node, *from_shelf(shelf, "tiny"), source=True)
            climb(node, spec, 201)
            reached = await node.until(outcome_of(201))
            assert isinstance(reached, StepReached), reached
            if await told != b"1":
                pytest.skip("this host lets nobody trace")

    on_node(scenario)
