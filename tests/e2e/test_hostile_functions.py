"""Functions that mean harm: each is stopped or refused, all others go on answering, and nothing is left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from glowplug.bench.systems.processes import command_name
from glowplug.core.errors import DeadlinePassed, GlowplugError, OutOfMemory, WorkerDied
from tests.e2e.conftest import APPS, Server, all_gone, found_in, serving, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

HARMFUL = (
    "loops", "forks", "eats", "fills", "closes", "scribbles", "amid", "threads", "daemons", "keeper", "thief",
)  # fmt: skip


@pytest.fixture(scope="module")
def town(make_folder: Callable[[], Path]) -> Iterator[Server]:
    """A server with all of them, in one namespace and one environment, as near to each other as can be."""
    with serving(make_folder()) as server:
        server.client.set_secret("TREASURE", "map of the island")
        server.deploy_some(APPS / "hostile.py", "kind", *HARMFUL)
        yield server


@pytest.fixture(autouse=True)
def peace(town: Server) -> Iterator[None]:
    """Before and after each test a kind function answers; and after it nothing of the others is left."""
    assert town.client.invoke("kind", {"a": 1}) == 2
    yield
    assert town.client.invoke("kind", {"a": 2}) == 3
    for name in HARMFUL:
        town.client.descend(name, "imported")
    until(
        lambda: not [p for p in town.tree() if command_name(p).partition(":")[2][:4] in NAMES],
        "no process is left",
    )
    until(lambda: folders(town) <= 1, "no folder but that of the kind function is left")
    until(lambda: len(groups(town)) <= 2 * 3, "no control group but its and its environment's is left")


NAMES = {name[:4] for name in HARMFUL}


def folders(server: Server) -> int:
    """Folders of functions, as this machine sees them: the files in them are in the agent's memory."""
    return len(found_in(server.run_dir, "scratch/e*/s*"))


def groups(server: Server) -> list[Path]:
    """The control groups of a server, a folder for each controller."""
    noted = (server.folder / "state" / "cgroups").read_text().splitlines()
    return [found for line in noted for found in Path(line).parent.glob(f"{Path(line).name}*")]


@pytest.mark.parametrize("deaf", [False, True])
def test_one_that_loops_for_ever(town: Server, deaf: bool) -> None:
    """It is asked to stop, and killed when it does not."""
    with pytest.raises(DeadlinePassed):
        town.client.invoke("loops", {"deaf": deaf})
    until(lambda: town.client.describe("loops").in_flight == 0, "its worker is free of it or gone")


def test_one_that_forks_without_end(town: Server) -> None:
    made = town.client.invoke("forks")
    assert 10 < made < 1000
    assert town.client.invoke("kind", {"a": 3}) == 4


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_one_that_eats_memory(town: Server, warm: bool) -> None:
    if warm:
        assert town.client.invoke("eats", {"how": "little"}) == 1 << 20
    with pytest.raises(OutOfMemory, match="memory="):
        town.client.invoke("eats", {"how": "much"})
    assert town.client.invoke("eats", {"how": "little"}) == 1 << 20


@pytest.mark.parametrize("how", ["one", "many"])
def test_one_that_fills_the_disk(town: Server, how: str) -> None:
    assert town.client.invoke("fills", {"how": how}) == "28"


def test_one_that_closes_its_descriptors(town: Server) -> None:
    with pytest.raises(WorkerDied):
        town.client.invoke("closes")


@pytest.mark.parametrize("what", ["garbage", "zeros", "huge"])
def test_one_that_writes_garbage_to_its_sockets(town: Server, what: str) -> None:
    with pytest.raises(GlowplugError) as raised:
        town.client.invoke("scribbles", {"what": what})
    assert raised.value.status in (500, 502)


@pytest.mark.parametrize("how", ["deaf", "closes", "scribbles"])
def test_one_that_is_in_a_thread(town: Server, how: str) -> None:
    """As much is done about it, and the next worker answers."""
    with pytest.raises(GlowplugError) as raised:
        town.client.invoke("amid", {"how": how}, timeout_s=2)
    assert raised.value.status in (500, 502, 504)
    until(lambda: town.client.describe("amid").in_flight == 0, "its worker is gone")
    assert town.client.invoke("amid", {"how": "not"}) == "not"


def test_one_that_starts_threads(town: Server) -> None:
    assert town.client.invoke("threads", {"count": 20}) == 20
    assert town.client.invoke("threads", {"count": 5000}) < 1000


@pytest.mark.parametrize("die", [False, True])
def test_one_that_leaves_daemons(town: Server, die: bool) -> None:
    """They end with the worker, however it ends."""
    if die:
        with pytest.raises(WorkerDied):
            town.client.invoke("daemons", {"die": True})
        lines = until(lambda: list(town.client.logs("daemons")), "it said its daemon's id")
        inner = int(lines[-1].text)
    else:
        inner = town.client.invoke("daemons")
        assert town.outer(inner) is not None
        town.client.descend("daemons", "staged")
    until(lambda: town.outer(inner) is None, "the daemon is gone")


def own_things(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What a function may do to what is its own, and nobody else to that."""
    pid, folder = found["pid"], found["folder"]
    return {
        "its file": {"what": "file", "path": f"{folder}/diary.txt"},
        "its folder": {"what": "list", "path": folder},
        "writing there": {"what": "write", "path": f"{folder}/diary.txt"},
        "its code": {"what": "file", "path": found["code"]},
        "its bundle": {"what": "file", "path": str(Path(found["code"]).parents[1] / "manifest.json")},
        "its memory": {"what": "memory", "pid": pid, "address": found["address"]},
        "its memory by system call": {"what": "vm", "pid": pid, "address": found["address"]},
        "its environment": {"what": "environ", "pid": pid},
        "its descriptors": {"what": "descriptors", "pid": pid},
        "its abstract socket": {"what": "abstract", "name": found["socket"]},
    }


def forbidden_things(server: Server, found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What nobody may do."""
    state = server.folder / "state"
    return {
        "tracing it": {"what": "ptrace", "pid": found["pid"]},
        "killing it": {"what": "kill", "pid": found["pid"]},
        "killing init": {"what": "kill", "pid": 1},
        "killing the agent": {"what": "kill", "pid": 2},
        "tracing the zygote": {"what": "ptrace", "pid": found["zygote"]},
        "the zygote's descriptors": {"what": "descriptors", "pid": found["zygote"]},
        "the server over the network": {"what": "network", "address": httpx.URL(server.url).port},
        "all bundles": {"what": "list", "path": str(state / "bundles")},
        "the database": {"what": "file", "path": str(state / "glowplug.db")},
        "the state": {"what": "list", "path": str(state)},
        "the log": {"what": "file", "path": str(state / "server.log")},
        "the host's temporary files": {"what": "list", "path": "/tmp"},
        "the host's passwords": {"what": "file", "path": "/etc/shadow"},
        "shared memory": {"what": "list", "path": "/dev/shm"},
        "a control group": {"what": "write", "path": str(groups(server)[0] / "cgroup.procs")},
        "being root": {"what": "uid"},
        "mounting": {"what": "mount"},
    }


def test_a_thief(town: Server) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: without it functions share a user, and fewer thefts are refused")
    found = town.client.invoke("keeper")
    own, forbidden = own_things(found), forbidden_things(town, found)
    got = {}
    for name, theft in (own | forbidden).items():
        got[name] = town.client.invoke("thief", {"theft": theft})
    assert {name: loot for name, loot in got.items() if not loot.startswith("refused: ")} == {}
    for theft in own.values():
        assert town.client.invoke("keeper", {"theft": theft}), "by itself it may"
    assert town.client.invoke("keeper")["pid"] == found["pid"], "it noticed nothing"


def test_a_secret_of_another_namespace(town: Server) -> None:
    """It may not even be declared there."""
    upload = town.upload(APPS / "hostile.py")
    with pytest.raises(GlowplugError, match="no secret TREASURE in namespace elsewhere"):
        town.client.deploy("keeper", upload, namespace="elsewhere")


def test_everything_ends_with_the_server(folder: Path, pool: ThreadPoolExecutor) -> None:
    """Killed by SIGKILL, with daemons and a fork bomb: none stays, and the next start removes the rest."""
    with serving(folder) as server:
        server.deploy_some(APPS / "hostile.py", "daemons", "forks")
        inner = server.client.invoke("daemons")
        daemon = server.outer(inner)
        assert daemon is not None
        server.client.invoke("forks")
        before, left = server.tree(), groups(server)
        assert len(before) > 20
        assert left
        server.process.kill()
        server.process.wait()
        until(lambda: all_gone([*before, daemon]), "nothing runs on")
    with serving(folder) as server:
        assert not [path for path in left if path.exists()]
        assert server.client.invoke("daemons") > 0
    assert not (folder / "state" / "cgroups").exists()
