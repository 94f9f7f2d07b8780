"""A real server, real processes, and a door at which a function waits until its test lets it go on."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from glowplug.bench.harness import RunningServer, running_server
from glowplug.bench.systems.processes import descendants, outer_pid
from glowplug.bundle.inspect import inspect_source
from glowplug.bundle.uploads import write_upload
from glowplug.cli.deploying import deploy_files
from glowplug.client import Client
from glowplug.core.status import FunctionStatus

APPS = Path(__file__).parent / "apps"
WAIT_S = 120.0
"""Patience with a machine that has much else to do; what goes well waits for none of it."""
GRACE = ("--cancel-grace", "10s")
"""For tests in which a worker lives on that stopped a request: a slow machine is no reason to kill it."""


def until(condition: Callable[[], Any], what: str, wait_s: float = WAIT_S) -> Any:
    """The first true value of `condition`, asked again and again. Fails when it never comes."""
    deadline_s = time.monotonic() + wait_s
    pause = threading.Event()
    while not (found := condition()):
        assert time.monotonic() < deadline_s, f"after {wait_s:.0f} s still not: {what}"
        pause.wait(0.01)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def found_in(folder: Path, pattern: str) -> list[Path]:
    """What matches below a folder, whatever others remove there meanwhile."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            return list(folder.glob(pattern))


def all_gone(pids: Sequence[int]) -> bool:
    return not any(map(alive, pids))


class Visitor:
    """A request of a function that has come to the door. `pid` is what its process calls itself; 0 for one
    that was cancelled before it could say that."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.settimeout(WAIT_S)
        self._lines = sock.makefile("rb")
        said = self._lines.readline().strip()
        self.pid = int(said) if said.isdigit() else 0

    def let_go(self) -> None:
        self._sock.sendall(b"\n")

    def close(self) -> None:
        self._lines.close()
        self._sock.close()

    def last_words(self) -> str:
        """What it said until its end of the connection closed."""
        try:
            return self._lines.read().decode().strip()
        except ConnectionResetError:
            return ""


class Door:
    """Functions connect to `port`; a test sees that they run, and where, without waiting for a clock."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(WAIT_S)
        self.port: int = self._listener.getsockname()[1]
        self._visitors: list[Visitor] = []

    def visitor(self) -> Visitor:
        while True:
            self._visitors.append(Visitor(self._listener.accept()[0]))
            if self._visitors[-1].pid:
                return self._visitors[-1]

    def close(self) -> None:
        for visitor in self._visitors:
            visitor.close()
        self._listener.close()


class Server:
    """A running server, and everything a test asks of it."""

    def __init__(self, running: RunningServer, folder: Path) -> None:
        self.url = running.url
        self.pid = running.process.pid
        self.agent_pid = running.agent_pid
        self.process = running.process
        self.log = running.log
        self.folder = folder
        self.client = Client(running.url)
        self.http = httpx.Client(base_url=running.url, timeout=WAIT_S)

    def deploy(self, *sources: Path) -> list[FunctionStatus]:
        return deploy_files(self.url, None, list(sources), quiet=True)

    def upload(self, source: Path) -> str:
        with tempfile.TemporaryDirectory() as folder:
            write_upload(source, inspect_source(source), Path(folder) / "upload.tar")
            return self.client.upload(Path(folder) / "upload.tar")

    def deploy_some(self, source: Path, *names: str) -> None:
        """Of all that `source` declares, only these."""
        upload = self.upload(source)
        for name in names:
            version = self.client.deploy(name, upload)["version"]
            until(lambda n=name, v=version: self.client.describe(n).version == v and
                  self.client.describe(n).state == "ready", f"{name} is built")  # fmt: skip

    def write(self, text: str, name: str = "app.py") -> Path:
        """A source file in a folder of its own."""
        path = Path(tempfile.mkdtemp(dir=self.folder)) / name
        path.write_text(text)
        return path

    def post(self, function: str, arguments: Any = None, **headers: str) -> httpx.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(f"/function/{function}", json=arguments or {}, headers=names)

    @property
    def run_dir(self) -> Path:
        """Its folder of scratch."""
        return Path((self.folder / "state" / "lock").read_text())

    def tree(self) -> list[int]:
        return descendants(self.pid)

    def outer(self, pid: int) -> int | None:
        """What this machine calls a process that calls itself `pid`; None when it is gone."""
        return outer_pid(self.pid, pid)

    def close(self) -> None:
        self.client.close()
        self.http.close()


@contextlib.contextmanager
def serving(folder: Path, *files: Path, options: Sequence[str] = ()) -> Iterator[Server]:
    """A server on `folder`, which a later one may use again."""
    with running_server(files, folder / "state", options=options) as running:
        server = Server(running, folder)
        try:
            yield server
        finally:
            server.close()


@pytest.fixture(scope="session")
def make_folder() -> Iterator[Callable[[], Path]]:
    """Folders that functions' own users can reach, unlike pytest's."""
    made: list[Path] = []

    def make() -> Path:
        made.append(Path(tempfile.mkdtemp(prefix="glowplug-e2e-")))
        made[-1].chmod(0o755)
        return made[-1]

    yield make
    for path in made:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def folder(make_folder: Callable[[], Path]) -> Path:
    return make_folder()


@pytest.fixture(scope="session")
def server(make_folder: Callable[[], Path]) -> Iterator[Server]:
    """The one server of all tests that leave it as it was; nothing of it is left at the end."""
    with serving(make_folder(), options=GRACE) as found:
        found.deploy(APPS / "gates.py")
        yield found
        pids, scratch = found.tree(), found.run_dir
        assert scratch.is_dir()
    until(lambda: all_gone(pids), "every process of the server is gone")
    assert not scratch.exists()


@pytest.fixture
def door() -> Iterator[Door]:
    found = Door()
    yield found
    found.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    found = ThreadPoolExecutor(8)
    yield found
    found.shutdown(wait=False, cancel_futures=True)  # what a failed test left waits for the door to close
