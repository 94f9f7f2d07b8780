"""Functions of one environment, one of whose libraries leaves a thread running when it is imported."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from glowplug.bench.systems.processes import outer_pid
from glowplug.core.events import Built, CommandFailed, StepReached
from glowplug.core.ladder import Step

from .conftest import NodeUnderTest

pytestmark = pytest.mark.e2e

LEAVER = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
value = 3
"""
SOURCE = """
import os
import glowplug
app = glowplug.App("threads")

class Counts:
    @glowplug.endpoint
    def processes(self) -> list:
        return [os.getpid(), os.getppid()]

@app.model(libraries=["json", "leaver"])
class Needs(Counts):
    def setup(self):
        import leaver
        self.value = leaver.value

@app.model(libraries=["json", "leaver"])
class Spares(Counts):
    def setup(self):
        self.value = 3
"""
WHY = "importing leaver leaves 1 thread running, so each process of the function imports it by itself"


@pytest.fixture(autouse=True)
def leaver(node_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library, where functions can import it."""
    folder = node_folder / "library"
    folder.mkdir()
    (folder / "leaver.py").write_text(LEAVER)
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


async def threads(node: NodeUnderTest, instance: int) -> list[int]:
    """How many a worker has, and its zygote."""
    processes = json.loads(bytes((await node.call(instance, b"")).body))
    outer = [outer_pid(node.engine.agent_pid, process) for process in processes]
    return [len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in outer]


def test_no_process_with_two_threads_is_forked(on_node: Callable[..., None], node_folder: Path) -> None:
    source = node_folder / "threads_app.py"
    source.write_text(SOURCE)

    async def scenario(node: NodeUnderTest) -> None:
        specs = await node.specs(source)
        needs, spares = specs["needs"], specs["spares"]
        assert needs.environment_key == spares.environment_key
        for instances in ((1, 2, 3), (4, 5, 6)):  # what is found out once holds for the next zygote too
            assert isinstance(await node.import_environment(needs), StepReached)
            for instance, spec in zip(instances, (needs, spares), strict=False):
                built = await node.build(spec)
                assert isinstance(built, Built), built
                forks = spec is spares
                assert built.facts.highest_step == (Step.PARKED if forks else Step.IMPORTED)
                alone = "staging leaves 2 threads, and such a process must not fork. "
                assert built.facts.reason.startswith(("" if forks else alone) + WHY)
                assert isinstance(await node.park(spec, instance, Step.IMPORTED), StepReached)
                assert await threads(node, instance) == ([1, 1] if forks else [2, 1])
            refused = await node.stage(needs)
            assert isinstance(refused, CommandFailed)
            assert (refused.code, refused.permanent) == ("unforkable", True)
            assert isinstance(await node.stage(spares), StepReached)
            assert isinstance(await node.park(spares, instances[2], Step.STAGED), StepReached)
            assert await threads(node, instances[2]) == [1, 1]
            await node.descend("environment", needs.environment_key, Step.LOCAL)

    on_node(scenario)


def test_an_environment_whose_threads_nobody_can_leave_out_is_refused(
    on_node: Callable[..., None], node_folder: Path
) -> None:
    """NumPy is imported for every function, declared or not: here it is one that starts a thread."""
    (node_folder / "library" / "numpy.py").write_text(LEAVER)
    source = node_folder / "threads_app.py"
    source.write_text(SOURCE.replace(', "leaver"', ""))

    async def scenario(node: NodeUnderTest) -> None:
        spec = (await node.specs(source))["spares"]
        refused = await node.import_environment(spec)
        assert isinstance(refused, CommandFailed)
        assert (refused.code, refused.permanent) == ("build_failed", True)
        assert "2 threads after importing the libraries" in refused.message

    on_node(scenario)
