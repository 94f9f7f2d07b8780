"""What processes of a machine share by name: memory of System V, which outlives who made it, sockets,
and keys."""

from __future__ import annotations

import ctypes
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from glowplug.core.events import StepReached
from glowplug.core.ladder import Step
from tests.node.conftest import NodeUnderTest

pytestmark = pytest.mark.e2e

SOURCE = """
import ctypes, socket
import glowplug
app = glowplug.App("hoarding")

@app.function()
def hoard(key: int) -> list[int]:
    libc = ctypes.CDLL(None)
    return [libc.shmget(key, 1 << 20, 0o1666), libc.semget(key, 1, 0o1666), libc.msgget(key, 0o1666)]

@app.function()
def unlock(name: str) -> int:
    return ctypes.CDLL(None).syscall(250, 10, ctypes.c_long(-3), b"user", name.encode(), 0)

@app.function()
def families() -> dict[str, str]:
    found = {}
    for name in ("AF_UNIX", "AF_INET", "AF_VSOCK"):
        try:
            socket.socket(getattr(socket, name), socket.SOCK_STREAM).close()
            found[name] = "made"
        except OSError as error:
            found[name] = type(error).__name__
    return found

@app.function()
def reach(path: str) -> str:
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
    except OSError as error:
        return type(error).__name__
    return "reached"
"""
REMOVE = 0


def test_a_function_leaves_nothing_among_what_the_host_shares(
    on_node: Callable[..., None], node_folder: Path
) -> None:
    source = node_folder / "hoarding_app.py"
    source.write_text(SOURCE)
    key = 1 + int.from_bytes(os.urandom(3))

    async def scenario(node: NodeUnderTest) -> None:
        if node.engine.isolation["own processes"].startswith("no"):
            pytest.skip("this host allows no namespaces")
        spec = (await node.specs(source))["hoard"]
        await node.import_environment(spec)
        await node.build(spec)
        assert isinstance(await node.park(spec, 1, Step.IMPORTED), StepReached)
        reply = await node.call(1, msgspec.json.encode({"key": key}))
        assert reply.error is None
        libc = ctypes.CDLL(None)
        left = [libc.shmget(key, 0, 0), libc.semget(key, 0, 0), libc.msgget(key, 0)]
        for number, remove in zip(left, (libc.shmctl, libc.semctl, libc.msgctl), strict=True):
            if number >= 0:
                remove(number, REMOVE, REMOVE, None)
        assert left == [-1, -1, -1]

    on_node(scenario)


@pytest.mark.parametrize("folder", ["/run", "/tmp", "/var/tmp"])
def test_a_function_reaches_no_socket_of_this_machines_services(
    on_node: Callable[..., None], node_folder: Path, folder: str
) -> None:
    source = node_folder / "hoarding_app.py"
    source.write_text(SOURCE)
    door = Path(f"{folder}/glowplug-test-{secrets.token_hex(8)}.sock")

    async def scenario(node: NodeUnderTest) -> None:
        if node.engine.isolation["own processes"].startswith("no"):
            pytest.skip("this host allows no mounts")
        spec = (await node.specs(source))["reach"]
        await node.import_environment(spec)
        await node.build(spec)
        assert isinstance(await node.park(spec, 1, Step.IMPORTED), StepReached)
        reply = await node.call(1, msgspec.json.encode({"path": str(door)}))
        refused = "FileNotFoundError" if folder == "/run" else "ConnectionRefusedError"
        assert msgspec.json.decode(bytes(reply.body)) == refused

    with socket.socket(socket.AF_UNIX) as service:
        try:
            service.bind(str(door))
        except OSError:
            pytest.skip("only root may make a socket there")
        try:
            door.chmod(0o777)
            service.listen()
            on_node(scenario)
        finally:
            door.unlink()


def test_a_function_without_a_network_does_not_reach_the_host_of_a_virtual_machine(
    on_node: Callable[..., None], node_folder: Path
) -> None:
    """Sockets to it belong to no namespace."""
    source = node_folder / "hoarding_app.py"
    source.write_text(SOURCE)

    async def scenario(node: NodeUnderTest) -> None:
        words = node.engine.isolation["own network"]
        if words.startswith("no") or "AF_VSOCK" in words:
            pytest.skip(words)
        spec = (await node.specs(source))["families"]
        await node.import_environment(spec)
        await node.build(spec)
        assert isinstance(await node.park(spec, 1, Step.IMPORTED), StepReached)
        reply = await node.call(1, b"{}")
        made = {"AF_UNIX": "made", "AF_INET": "made", "AF_VSOCK": "OSError"}
        assert msgspec.json.decode(bytes(reply.body)) == made

    on_node(scenario)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system calls are called by their numbers")
def test_a_function_has_no_key_of_who_runs_the_server(
    on_node: Callable[..., None], node_folder: Path
) -> None:
    source = node_folder / "hoarding_app.py"
    source.write_text(SOURCE)
    name, libc = f"glowplug-{secrets.token_hex(8)}", ctypes.CDLL(None)
    session = ctypes.c_long(-3)

    async def scenario(node: NodeUnderTest) -> None:
        spec = (await node.specs(source))["unlock"]
        await node.import_environment(spec)
        await node.build(spec)
        assert isinstance(await node.park(spec, 1, Step.IMPORTED), StepReached)
        reply = await node.call(1, msgspec.json.encode({"name": name}))
        assert msgspec.json.decode(bytes(reply.body)) == -1

    key = libc.syscall(248, b"user", name.encode(), b"secret", 6, session)
    if key < 0:
        pytest.skip("no key can be kept here")
    try:
        on_node(scenario)
    finally:
        libc.syscall(250, 9, ctypes.c_long(key), session)
