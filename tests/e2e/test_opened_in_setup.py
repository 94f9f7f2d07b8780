"""Two workers of a function that opens a connection in setup(): deployed, called, explained."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.conftest import Door, serving

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

SOURCE = """
import os, socket
import glowplug
app = glowplug.App("opens")

@app.model(max_workers=2, network=True)
class Opens:
    def setup(self):
        self.ends = socket.socketpair()

    @glowplug.endpoint
    def wait(self, port: int) -> list:
        with socket.create_connection(("127.0.0.1", port)) as door:
            door.sendall(b"%d\\n" % os.getpid())
            door.recv(1)
        return [os.getpid(), os.fstat(self.ends[0].fileno()).st_ino]
"""


def test_each_worker_has_a_connection_of_its_own(folder: Path, door: Door, pool: ThreadPoolExecutor) -> None:
    source = folder / "opens_app.py"
    source.write_text(SOURCE)
    with serving(folder) as server:
        server.deploy(source)
        found = server.client.describe("opens")
        # What its workers are forked from: a zygote of its own, if it could have one.
        server.client.descend("opens", "imported" if found.highest_step == "imported" else "staged")
        server.client.scale("opens", 2)
        answers = [pool.submit(server.client.invoke, "opens", {"port": door.port}) for _ in range(2)]
        visitors = [door.visitor(), door.visitor()]
        for each in visitors:
            each.let_go()
        told = [answer.result() for answer in answers]
    assert {pid for pid, _ in told} == {each.pid for each in visitors}
    assert len({pid for pid, _ in told}) == len({inode for _, inode in told}) == 2
    assert found.highest_step == "imported"
    assert found.reason.startswith("staging leaves 2 sockets, which forked workers would share: each makes ")
