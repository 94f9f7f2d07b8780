"""What a worker may touch that was confined, and had threads, before its function was known."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from glowplug.bench.systems.processes import outer_pid
from glowplug.core.commands import Climb, Target
from glowplug.core.devices import DeviceSetting
from glowplug.core.events import Built, ContextWaits, NodeJoined, StepReached
from glowplug.core.ids import DeviceId
from glowplug.core.ladder import Step
from glowplug.core.specs import FunctionSpec
from glowplug.loader.devices.cuda import cards
from glowplug.node.isolation import landlock
from tests.node.conftest import NODE, NodeUnderTest
from tests.node.test_devices import contexts, until

pytestmark = pytest.mark.e2e

EARLY = '''
"""Starts a thread in each context process, as a driver does: between its confinement and its function."""
import os, queue, random, threading

work, done = queue.SimpleQueue(), queue.SimpleQueue()
seed = random.seed


def serve():
    while True:
        done.put(work.get()())


def start(*values):
    seed(*values)
    if os.path.basename(os.getcwd()).startswith("context"):
        threading.Thread(target=serve, daemon=True).start()


random.seed = start
'''
SOURCE = """
import os, socket
from pathlib import Path
import glowplug
import early

app = glowplug.App("seats")

def outcome(act):
    try:
        act()
    except OSError as error:
        return type(error).__name__
    return "done"

def connect(name):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\\0" + name)

ACTS = {
    "read": lambda path: Path(path).read_bytes()[:100],
    "write": lambda path: Path(path).write_text("gotcha"),
    "list": lambda path: list(Path(path).iterdir()),
    "kill": lambda pid: os.kill(int(pid), 0),
    "connect": connect,
}

class Acts:
    def setup(self):
        self.answer = [40, 2]

    @glowplug.endpoint
    def who(self) -> dict:
        Path("diary").write_text("dear diary")
        self.listener = socket.socket(socket.AF_UNIX)
        name = f"seats-{os.getpid()}"
        self.listener.bind("\\0" + name)
        self.listener.listen()
        return {"pid": os.getpid(), "folder": os.getcwd(), "code": __file__, "socket": name,
                "sum": sum(self.answer), "colour": os.environ.get("COLOUR")}

    @glowplug.endpoint
    def act(self, what: str, on: str) -> str:
        return outcome(lambda: ACTS[what](on))

    @glowplug.endpoint
    def early(self, what: str, on: str) -> str:
        early.work.put(lambda: outcome(lambda: ACTS[what](on)))
        return early.done.get()

@app.model(libraries=LIBRARIES)
class Keeper(Acts): ...

@app.model(libraries=LIBRARIES, device="gpu", device_memory=100, priority="background", memory="3GB")
class Taken(Acts): ...
"""
DEVICES = [
    DeviceSetting("virtual0", "virtual", 0, 2000, 1e6, context_bytes=300, context_s=0.05),
    pytest.param(
        DeviceSetting("cuda0", "cuda", 0, 8 * 10**9, context_bytes=10**9),
        marks=[pytest.mark.gpu, pytest.mark.skipif(not cards(), reason="needs a CUDA device")],
    ),
]


@pytest.fixture(autouse=True)
def early(node_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library, where functions can import it."""
    folder = node_folder / "library"
    folder.mkdir()
    (folder / "early.py").write_text(EARLY)
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


async def load(
    node: NodeUnderTest, device: DeviceSetting, spec: FunctionSpec, built: Built, instance: int
) -> None:
    number, nbytes = DeviceId(f"{NODE}/{device.name}"), 100 + device.context_bytes
    target = Target("instance", NODE, str(instance))
    reached = await node.do(
        lambda command: Climb(
            command, target, Step.PARKED, spec, built.facts, device=number, device_bytes=nbytes
        )
    )
    assert isinstance(reached, StepReached), reached


async def ask(node: NodeUnderTest, instance: int, endpoint: str, **arguments: str) -> Any:
    reply = await node.call(instance, msgspec.json.encode(arguments), endpoint=endpoint)
    assert reply.error is None, reply.error
    return msgspec.json.decode(bytes(reply.body))


def tasks(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())


def of_threads(pid: int, *names: str) -> list[tuple[str, ...]]:
    """These lines of each thread's status."""
    found = []
    for task in tasks(pid):
        lines = dict(line.partition(":\t")[::2] for line in (task / "status").read_text().splitlines())
        found.append(tuple(lines[name] for name in names))
    return found


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.kind)
def test_threads_from_before_a_function_was_known_have_its_rights_alone(
    on_node: Callable[..., None], node_folder: Path, device: DeviceSetting
) -> None:
    if not landlock.version():
        pytest.skip("needs Landlock: without it file modes alone keep functions apart")
    source = node_folder / "seats_app.py"
    libraries = ["early", "torch"] if device.kind == "cuda" else ["early"]
    source.write_text(SOURCE.replace("LIBRARIES", str(libraries)))

    async def scenario(node: NodeUnderTest) -> None:
        await node.until(lambda event: isinstance(event, NodeJoined))
        if not node.engine.isolation["own user"].startswith("yes, one for each function"):
            pytest.skip("functions share a user here, and fewer thefts are refused")
        specs = await node.specs(source)
        keeper, taken = specs["keeper"], specs["taken"]
        assert keeper.environment_key == taken.environment_key
        await node.import_environment(keeper)
        kept, built = await node.build(keeper), await node.build(taken)
        await node.park(keeper, 1, Step.IMPORTED, prime=False)
        await load(node, device, taken, built, 2)
        (ready,) = await until(lambda: contexts(node))
        assert len(tasks(ready)) > (2 if device.kind == "cuda" else 1), "a driver's, and that of the library"
        waits = await node.until(lambda event: isinstance(event, ContextWaits))
        assert isinstance(waits, ContextWaits)
        assert waits.held_bytes > 2**20
        before = of_threads(ready, "Uid")[0]
        await load(node, device, taken, built, 3)
        other, mine = await ask(node, 1, "who"), await ask(node, 3, "who")
        assert outer_pid(node.engine.agent_pid, mine["pid"]) == ready
        assert mine["sum"] == 42, "its state came from its pack"
        assert mine["colour"] == "green", "its variables came to it when it waited already"
        threads = of_threads(ready, "Uid", "CapEff", "NoNewPrivs")
        assert len(threads) > 1
        assert set(threads) == {(*before, "0000000000000000", "1")}
        assert {os.getpriority(os.PRIO_PROCESS, int(t.name)) for t in tasks(ready)} == {19}

        first, second = (node.store.bundle_path(spec.version) for spec in (keeper, taken))
        sibling = await ask(node, 2, "who")
        own = [
            ("read", mine["code"]),
            ("write", f"{mine['folder']}/new"),
            ("list", mine["folder"]),
            ("kill", str(mine["pid"])),
        ]
        forbidden = [
            ("write", mine["code"]),
            ("write", str(Path(mine["code"]).parent / "new")),
            ("read", str(second / "manifest.json")),
            ("read", str(first / "manifest.json")),
            ("read", str(node.store.pack_path(kept.facts.pack))),
            ("list", str(node.folder / "state" / "bundles")),
            ("read", f"{other['folder']}/diary"),
            ("list", other["folder"]),
            ("read", f"{sibling['folder']}/diary"),
            ("list", str(Path(mine["folder"]).parents[1])),
            ("read", f"/proc/{other['pid']}/environ"),
            ("list", f"/proc/{other['pid']}/fd"),
            ("read", f"/proc/{sibling['pid']}/environ"),
            ("kill", str(other["pid"])),
            ("kill", str(sibling["pid"])),
            ("kill", "1"),
            ("connect", other["socket"]),
            ("connect", sibling["socket"]),
        ]
        if landlock.version() < 6:  # a user of one's own keeps no abstract socket from another
            forbidden = [each for each in forbidden if each[0] != "connect"]
        for thread in ("act", "early"):
            got = [(await ask(node, 3, thread, what=what, on=on), what, on) for what, on in own]
            assert [each for each in got if each[0] != "done"] == [], thread
            got = [(await ask(node, 3, thread, what=what, on=on), what, on) for what, on in forbidden]
            assert [each for each in got if each[0] == "done"] == [], thread
        # Nor may another reach it.
        assert await ask(node, 1, "act", what="read", on=f"{mine['folder']}/diary") != "done"
        assert await ask(node, 1, "act", what="read", on=mine["code"]) != "done"

        seat = Path(mine["folder"]).parent
        assert seat.is_dir(), "as this machine sees it: its files are in the agent's memory"
        await node.descend("instance", "3", Step.STAGED)
        await until(lambda: not seat.exists())
        assert node.store.bundle_path(taken.version).is_dir()
        assert (await ask(node, 2, "who"))["sum"] == 42

    on_node(scenario, env={"COLOUR": "green"}, devices=(device,))
