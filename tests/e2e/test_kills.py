"""SIGKILL for every kind of process: callers are told, nobody is orphaned, everything returns."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.conftest import APPS, Door, Server, alive, all_gone, serving, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


@pytest.fixture(scope="module")
def fragile(make_folder: Callable[[], Path]) -> Iterator[Server]:
    """A server of this module's own, whose processes are killed below it."""
    with serving(make_folder()) as found:
        found.deploy_some(APPS / "gates.py", "add", "wait")
        yield found


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def warm_worker(server: Server, door: Door, pool: ThreadPoolExecutor) -> int:
    """The worker of `wait`, forked from its function's zygote, with nothing to do."""
    server.client.descend("wait", "staged")
    server.client.climb("wait", "parked")
    call = pool.submit(server.post, "wait", {"port": door.port})
    door.visitor().let_go()
    return server.outer(call.result().json())


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_an_idle_worker(fragile: Server, door: Door, pool: ThreadPoolExecutor) -> None:
    for _ in range(5):
        pid = warm_worker(fragile, door, pool)
        kill(pid)
        call = pool.submit(fragile.post, "wait", {"port": door.port})
        visitor = door.visitor()
        assert fragile.outer(visitor.pid) != pid
        visitor.let_go()
        assert call.result().status_code == 200


def test_a_busy_worker(fragile: Server, door: Door, pool: ThreadPoolExecutor) -> None:
    call = pool.submit(fragile.post, "wait", {"port": door.port})
    kill(fragile.outer(door.visitor().pid))
    assert call.result().status_code == 502
    assert "SIGKILL" in call.result().json()["error"]["message"]


@pytest.mark.parametrize("generations", [1, 2, 3], ids=["function's zygote", "environment's zygote", "agent"])
def test_an_ancestor(fragile: Server, door: Door, pool: ThreadPoolExecutor, generations: int) -> None:
    """Who waits below it is told; all below it goes with it; the next request finds everything again."""
    pid = warm_worker(fragile, door, pool)
    fragile.client.climb("add", "parked")
    before = fragile.tree()
    busy = pool.submit(fragile.post, "wait", {"port": door.port})
    visitor = door.visitor()
    assert fragile.outer(visitor.pid) == pid
    queued = pool.submit(fragile.post, "wait", {"port": door.port})
    until(lambda: fragile.client.describe("wait").queued == 1, "a second request waits")
    victim = pid
    for _ in range(generations):
        victim = parent_of(victim)
    assert victim in before
    assert victim != fragile.pid
    kill(victim)
    assert busy.result().status_code == 502
    assert "wait.default" in busy.result().json()["error"]["message"]
    second = door.visitor()
    second.let_go()
    assert queued.result().json() == second.pid
    assert fragile.outer(second.pid) != pid
    assert fragile.client.invoke("add", {"a": 1}) == 2
    expected = {1: (pid,), 2: (pid, victim), 3: tuple(before)}[generations]
    until(lambda: all_gone(expected), "nothing of the old tree runs")
    fragile.process.poll()
    assert alive(fragile.pid)


def agent_of(server: Server) -> int | None:
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return int(children[0]) if children else None


def test_again_and_again(fragile: Server, pool: ThreadPoolExecutor) -> None:
    """Three agents in a row: each is replaced, none is left."""
    for _ in range(3):
        agent = until(lambda: agent_of(fragile), "an agent runs")
        kill(agent)
        until(lambda a=agent: agent_of(fragile) not in (None, a), "there is another")  # type: ignore[misc]
    until(lambda: fragile.http.get("/readyz").status_code == 200, "the server is ready again")
    assert fragile.client.invoke("add", {"a": 5}) == 6


KNOCKING = """
import os, socket, glowplug
app = glowplug.App("knocking")
if "GLOWPLUG_INSPECT" not in os.environ:
    with socket.create_connection(("127.0.0.1", {port})) as door:
        door.sendall(f"{{os.getpid()}}\\n".encode())
        door.recv(1)

@app.function(network=True)
def knock() -> int:
    return 7
"""


def test_a_build(fragile: Server, door: Door, pool: ThreadPoolExecutor) -> None:
    """The deploy was acknowledged: killing what builds it, and then what measures it, is not its end."""
    upload = fragile.upload(fragile.write(KNOCKING.format(port=door.port), "knocking.py"))
    fragile.client.deploy("knock", upload)
    for _ in range(2):
        kill(fragile.outer(door.visitor().pid))
        door.visitor().let_go()
    answer = pool.submit(fragile.client.invoke, "knock")
    while fragile.client.describe("knock").state == "building" or not answer.done():
        knocking = pool.submit(door.visitor)
        until(lambda k=knocking: k.done() or answer.done(), "it goes on")
        if knocking.done():
            knocking.result().let_go()
    assert answer.result() == 7
    fragile.client.undeploy("knock")


def test_the_server(folder: Path, door: Door, pool: ThreadPoolExecutor) -> None:
    """Nothing of its tree runs on; the next start finds what was deployed, also what was not yet built."""
    with serving(folder) as first:
        first.deploy_some(APPS / "gates.py", "add", "wait")
        pool.submit(first.post, "wait", {"port": door.port}).add_done_callback(lambda done: done.exception())
        visitor = door.visitor()
        before = first.tree()
        assert len(before) >= 3
        scratch = first.run_dir
        assert scratch.is_dir()
        upload = first.upload(APPS / "gates.py")
        first.client.deploy("variable", upload)
        kill(first.pid)
        first.process.wait()
        assert visitor.last_words() == ""
        until(lambda: all_gone(before), "nothing of the old tree runs")
    with (folder / "state" / "glowplug.db-wal").open("ab") as wal:
        wal.write(b"torn" * 1000)
    with serving(folder) as second:
        assert {f.name for f in second.client.functions()} == {"add", "wait", "variable"}
        assert second.client.invoke("add", {"a": 1}) == 2
        until(lambda: second.client.describe("variable").state == "ready", "what was accepted is built")
        assert second.client.invoke("variable", {"name": "COLOUR"}) == "green"
        assert not scratch.exists()
