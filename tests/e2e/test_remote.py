"""A node's disk is a cache of the artifact store: what is missing is fetched, and the first answer does
not wait.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glowplug import loader
from tests.e2e.conftest import APPS, Server, serving, until

pytest.importorskip("torch", reason="needs the torch extra")

pytestmark = [pytest.mark.e2e, pytest.mark.torch]

X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


@pytest.fixture(scope="module")
def far(make_folder: Callable[[], Path]) -> Iterator[tuple[Server, Path]]:
    """A server with an artifact store beside it, and one function; nobody else uses them."""
    folder = make_folder()
    artifacts = folder / "artifacts"
    with serving(folder / "server", options=["--artifacts", str(artifacts)]) as server:
        server.deploy_some(APPS / "nets.py", "plain")
        yield server, artifacts


def pack_of(server: Server) -> Path:
    (found,) = (server.folder / "state" / "packs").glob("*.pack")
    return found


def ask(server: Server) -> Any:
    return server.client.invoke("plain", {"x": X.tolist()})


def test_what_was_built_is_in_the_artifact_store(far: tuple[Server, Path]) -> None:
    server, artifacts = far
    (stored,) = artifacts.iterdir()
    assert stored.name == f"{hashlib.sha256(stored.read_bytes()).hexdigest()}.pack"
    assert stored.name == pack_of(server).name


@pytest.mark.parametrize("step", ["local", "imported"])
def test_a_pack_that_is_gone_from_the_disk_is_fetched_for_the_request(
    far: tuple[Server, Path], step: str
) -> None:
    server, artifacts = far
    expected = ask(server)
    server.client.descend("plain", step)
    pack = pack_of(server)
    pack.unlink()
    assert ask(server) == expected
    until(pack.exists, "the pack is on the disk again")
    assert pack.read_bytes() == (artifacts / pack.name).read_bytes()
    assert not list(pack.parent.glob(".new-*"))


def test_what_is_not_the_pack_is_not_used(far: tuple[Server, Path]) -> None:
    server, artifacts = far
    expected = ask(server)
    server.client.descend("plain", "imported")
    pack = pack_of(server)
    stored = artifacts / pack.name
    kept = artifacts.parent / "kept"
    shutil.move(pack, kept)
    content = bytearray(kept.read_bytes())
    with loader.open_pack(kept) as opened:
        content[opened.info.weights_offset] ^= 1
    stored.chmod(0o644)
    stored.write_bytes(content)
    answer = server.http.post("/function/plain", json={"x": X.tolist()})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "weights")
    assert "damaged" in answer.text
    assert not pack.exists()
    stored.write_bytes(kept.read_bytes())
    assert until(lambda: _asked(server), "an answer, once the store is sound again") == expected


def test_a_store_without_the_pack_is_told_of(far: tuple[Server, Path]) -> None:
    server, artifacts = far
    expected = ask(server)
    server.client.descend("plain", "imported")
    pack = pack_of(server)
    stored = artifacts / pack.name
    kept = artifacts.parent / "elsewhere"
    shutil.move(stored, kept)
    pack.unlink()
    answer = server.http.post("/function/plain", json={"x": X.tolist()})
    assert answer.status_code >= 500
    assert "weights cannot be fetched" in answer.text
    shutil.move(kept, stored)
    assert until(lambda: _asked(server), "an answer, once the store has it again") == expected


def _asked(server: Server) -> Any:
    answer = server.http.post("/function/plain", json={"x": X.tolist()})
    return answer.json() if answer.status_code == 200 else None


@pytest.mark.skipif(os.geteuid() != 0, reason="functions have the server's own user, who may enter")
def test_a_store_in_a_folder_that_is_closed_to_others_keeps_packs(folder: Path) -> None:
    """The server's own folder lies there too, so the agent covers what else is in it."""
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    artifacts = closed / "artifacts"
    with serving(closed / "server", options=["--artifacts", f"file://{artifacts}"]) as server:
        server.deploy_some(APPS / "nets.py", "plain")
        pack = pack_of(server)
        assert [stored.name for stored in artifacts.iterdir()] == [pack.name]
        expected = ask(server)
        server.client.descend("plain", "local")
        pack.unlink()
        np.testing.assert_array_equal(ask(server), expected)
