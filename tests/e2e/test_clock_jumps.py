"""The machine's wall clock jumps by an hour, forwards and back, under a server that runs.

Nobody may set this machine's clock, and no namespace has one of its own. So every process of the server gets
a `sitecustomize` by which `time.time()` adds what stands in a file. What the code reads of the wall clock it
reads through that; the kernel's monotonic clock, which a jump never touches, is left alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from glowplug.bench.harness import running_server
from tests.e2e.conftest import APPS, Door, Server, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

HOUR_S = 3600.0
SITE = """
import os, time
_file, _real = os.open({path!r}, os.O_RDONLY | os.O_CLOEXEC), time.time
time.time = lambda: _real() + float(os.pread(_file, 32, 0) or 0)
"""
APP = """
import time
import glowplug
app = glowplug.App("clocks")

@app.function()
def now() -> float:
    print(time.time())
    return time.time()
"""


class Jumping:
    """A server whose wall clock is `offset_s` ahead of the machine's."""

    def __init__(self, server: Server, offset: Path) -> None:
        self.server = server
        self._offset = offset

    def jump(self, offset_s: float) -> None:
        """For every process of the server at once; a reader sees the old offset or the new one."""
        fresh = f"{offset_s:<32}".encode()
        descriptor = os.open(self._offset, os.O_WRONLY)
        os.pwrite(descriptor, fresh, 0)
        os.close(descriptor)

    def ahead_s(self) -> float:
        """How far ahead a function of it sees the clock, whole hours being what matters."""
        return round((self.server.client.invoke("now") - time.time()) / HOUR_S) * HOUR_S


@pytest.fixture
def jumping(folder: Path) -> Iterator[Jumping]:
    site = folder / "site"
    offset = site / "offset"  # beside what is imported: there every function may read
    site.mkdir(mode=0o755)
    offset.write_bytes(f"{0.0:<32}".encode())
    (site / "sitecustomize.py").write_text(SITE.format(path=str(offset)))
    paths = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    with running_server((), folder / "state", variables={"PYTHONPATH": paths}) as running:
        server = Server(running, folder)
        server.deploy_some(APPS / "gates.py", "add", "wait")
        server.deploy(server.write(APP))
        yield Jumping(server, offset)
        server.close()


@pytest.mark.parametrize("hours", [(1, 0, 1), (-1, 0, -1)], ids=["forwards first", "backwards first"])
def test_requests_workers_and_deadlines_do_not_notice(
    jumping: Jumping, door: Door, pool: ThreadPoolExecutor, hours: tuple[int, ...]
) -> None:
    server = jumping.server
    call = pool.submit(server.post, "wait", {"port": door.port})
    visitor = door.visitor()
    worker = visitor.pid
    for hour in hours:
        jumping.jump(hour * HOUR_S)
        assert jumping.ahead_s() == hour * HOUR_S, "the server's processes see the jump"
        visitor.let_go()
        assert call.result().status_code == 200, "what runs is answered"
        assert server.client.invoke("add", {"a": 1}) == 2
        queued = pool.submit(server.post, "wait", {"port": door.port}, x_glowplug_timeout="300")
        visitor = door.visitor()
        assert visitor.pid == worker, "what is kept warm stays"
        late = server.post("wait", {"port": door.port}, x_glowplug_timeout="0.2")
        assert late.status_code == 504, "a deadline comes when it should"
        call = queued
    visitor.let_go()
    assert call.result().status_code == 200


def test_versions_and_log_lines_keep_their_order(jumping: Jumping) -> None:
    server = jumping.server
    for number, hour in enumerate((1, -1, 0), 1):
        jumping.jump(hour * HOUR_S)
        assert jumping.ahead_s() == hour * HOUR_S
        (status,) = server.deploy(server.write(APP + f"# {number}\n"))
        assert server.client.describe("now").version == status.version
    texts = until(lambda: len(t := [line.text for line in server.client.logs("now")]) == 3 and t, "all lines")
    seen = [round((float(text) - time.time()) / HOUR_S) for text in texts]
    assert seen == [1, -1, 0], "lines are in the order in which they were printed"
