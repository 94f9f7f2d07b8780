"""A disk that is full: who needs it is told so by name, all others go on, and space that returns is used."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from glowplug.bench.systems.processes import children, living
from glowplug.control.journal_files import replay
from glowplug.core.errors import NoSpace
from tests.e2e.conftest import APPS, Server, serving, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


@pytest.fixture
def small(folder: Path) -> Iterator[Path]:
    """A folder whose `state` is a file system of a few megabytes."""
    state = folder / "state"
    state.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m,mode=755", "tmpfs", str(state)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(state)], check=True)


def fill(path: Path) -> None:
    """Writes until nothing more fits."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def set_secrets(server: Server) -> None:
    for number in range(50):
        server.client.set_secret("BIG", "x" * 16_000 + str(number))


def test_uploads_and_secrets_are_refused(small: Path) -> None:
    """What is deployed goes on."""
    filler = small / "state" / "filler"
    with serving(small) as server:
        server.deploy_some(APPS / "gates.py", "add")
        ready = server.upload(APPS / "gates.py")
        fill(filler)
        with pytest.raises(NoSpace, match="upload cannot be stored"):
            server.client.upload(small / "state" / "glowplug.db")
        with pytest.raises(NoSpace):
            set_secrets(server)
        assert server.client.invoke("add", {"a": 1}) == 2
        filler.unlink()
        server.client.deploy("variable", ready)
        until(lambda: server.client.describe("variable").state == "ready", "there is space again")
        assert server.client.invoke("variable", {"name": "COLOUR"}) == "green"


def test_a_deploy_is_refused_or_fails_and_says_why(small: Path) -> None:
    """Whichever write meets the end of the disk first, the database's or the bundle's."""
    filler = small / "state" / "filler"
    with serving(small) as server:
        server.deploy_some(APPS / "gates.py", "add")
        upload = server.upload(APPS / "gates.py")
        fill(filler)
        try:
            server.client.deploy("variable", upload)
        except NoSpace as error:
            told = str(error)
        else:
            failed = until(
                lambda: (f := server.client.describe("variable")).state == "failed" and f, "it fails"
            )
            told = failed.error
        assert "cannot be stored" in told or "could not be stored" in told
        assert not list((small / "state" / "bundles").glob(".new-*"))
        assert server.client.invoke("add", {"a": 1}) == 2
        filler.unlink()
        server.client.deploy("variable", upload)
        until(lambda: server.client.describe("variable").state == "ready", "there is space again")
        assert server.client.invoke("variable", {"name": "COLOUR"}) == "green"


def test_the_log_and_the_journal_are_given_up_and_nothing_else(small: Path) -> None:
    """An agent that dies then is replaced all the same, though the line that says so cannot be written."""
    with serving(small) as server:
        server.deploy_some(APPS / "gates.py", "add", "chatter")
        assert server.log.parent == small / "state"
        fill(small / "state" / "filler")
        said = server.log.read_bytes()
        for _ in range(2):
            (agent,) = until(lambda: living(children(server.pid)), "an agent runs")
            os.kill(agent, signal.SIGKILL)
            until(lambda gone=agent: living(children(server.pid)) not in ([], [gone]), "another agent runs")
            assert server.client.invoke("add", {"a": 5}) == 6
        assert server.client.invoke("chatter", {"lines": 20}) == 20
        until(
            lambda: [line.text for line in server.client.logs("chatter", tail=1)] == ["the end"],
            "what it said is read to its end",
        )
        assert server.log.read_bytes() == said, "the disk was not full"
        assert server.http.get("/readyz").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
    assert replay(small / "state" / "journal").mismatches == []


def test_a_start_on_a_full_disk_says_so(small: Path) -> None:
    with serving(small) as server:
        server.deploy_some(APPS / "gates.py", "add")
    fill(small / "state" / "filler")
    command = [sys.executable, "-m", "glowplug", "serve", "--port", "0", "--state-dir", str(small / "state")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3, done.stderr
    assert "cannot be opened" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    (small / "state" / "filler").unlink()
    with serving(small) as server:
        assert server.client.invoke("add", {"a": 1}) == 2
