"""How environments begin when something is short: a library that ends its process, descriptors, a reserve."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from glowplug.bench.systems.processes import descendants, living, named
from glowplug.core.events import CommandFailed, StepReached
from glowplug.core.ladder import Step
from tests.node.conftest import NodeUnderTest
from tests.node.test_devices import until

pytestmark = pytest.mark.e2e

SOURCE = """
import glowplug

app = glowplug.App("interpreters")

@app.function(libraries=["ends"])
def never() -> None: ...

@app.function(libraries=["json"])
def one() -> None: ...

@app.function(libraries=["decimal"])
def two() -> None: ...
"""


@pytest.fixture
def source(node_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three functions of an environment each; the first one's library ends whoever imports it."""
    library = node_folder / "library"
    library.mkdir()
    (library / "ends.py").write_text("import os\nos._exit(3)\n")
    paths = [str(library), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    path = node_folder / "interpreters_app.py"
    path.write_text(SOURCE)
    return path


def ours(node: NodeUnderTest, name: str) -> list[int]:
    return living(named(name, descendants(node.engine.agent_pid)))


def opened(pid: int) -> Counter[str]:
    """What a process has open, by kind."""
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found[re.sub(r"\d+", "", str(entry.readlink()))] += 1
    return found


def test_an_environment_that_cannot_be_imported_uses_up_no_reserve(
    on_node: Callable[..., None], source: Path
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        specs = await node.specs(source)
        (waiting,) = await until(lambda: ours(node, "glowplug-standby"))
        assert isinstance(await node.import_environment(specs["never"]), CommandFailed)
        (next_one,) = await until(lambda: ours(node, "glowplug-standby"))
        assert next_one != waiting

    on_node(scenario)


def test_who_waited_in_reserve_has_nothing_open_that_others_have_not(
    on_node: Callable[..., None], source: Path
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        specs = await node.specs(source)
        (waiting,) = await until(lambda: ours(node, "glowplug-standby"))
        await node.import_environment(specs["one"])
        assert ours(node, "glowplug-zygote") == [waiting]
        (next_one,) = await until(lambda: ours(node, "glowplug-standby"))
        os.kill(next_one, signal.SIGKILL)
        await until(lambda: not ours(node, "glowplug-standby"))
        await node.import_environment(specs["two"])
        (fresh,) = set(ours(node, "glowplug-zygote")) - {waiting}
        await until(lambda: opened(waiting) == opened(fresh))

    on_node(scenario)


def test_an_agent_without_descriptors_starts_nothing_and_leaves_nothing(
    on_node: Callable[..., None], source: Path
) -> None:
    """Whichever of those that a start takes is one too many. When there are some again, it goes on."""

    async def scenario(node: NodeUnderTest) -> None:
        spec = (await node.specs(source))["one"]
        await until(lambda: ours(node, "glowplug-standby"))
        (agent,) = ours(node, "glowplug-agent") or [node.engine.agent_pid]
        before, limits = opened(agent), resource.prlimit(agent, resource.RLIMIT_NOFILE)
        failures = 0
        for left in range(10):
            for waiting in ours(node, "glowplug-standby"):
                os.kill(waiting, signal.SIGKILL)
            await until(lambda: not ours(node, "glowplug-standby"))
            used = {int(entry.name) for entry in Path(f"/proc/{agent}/fd").iterdir()}
            free = [number for number in range(1000) if number not in used]
            resource.prlimit(agent, resource.RLIMIT_NOFILE, (free[left], limits[1]))
            outcome = await node.import_environment(spec)
            failures += isinstance(outcome, CommandFailed)
            resource.prlimit(agent, resource.RLIMIT_NOFILE, limits)
            await node.descend("environment", spec.environment_key, Step.LOCAL)
            await until(lambda: not ours(node, "glowplug-zygote"))
        assert failures
        assert isinstance(await node.import_environment(spec), StepReached)
        await node.descend("environment", spec.environment_key, Step.LOCAL)
        await until(lambda: ours(node, "glowplug-standby"))
        await until(lambda: opened(agent) == before)

    on_node(scenario)
