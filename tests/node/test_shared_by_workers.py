"""What setup() or an import opens is each worker's own; what it computes may be a copy of the zygote's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glowplug.core.events import Built, CommandFailed, StepReached
from glowplug.core.ladder import Step

from .conftest import NodeUnderTest

pytestmark = pytest.mark.e2e

SOURCE = """
import mmap, os, random, socket, subprocess, sys
import numpy
import glowplug
app = glowplug.App("opens")
{at_import}

@app.model()
class Opens:
    def setup(self):
        self.ends = socket.socketpair()

    @glowplug.endpoint
    def tell(self) -> list:
        return [os.fstat(end.fileno()).st_ino for end in self.ends]

@app.model()
class Starts:
    def setup(self):
        self.ends = socket.socketpair()
        self.other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=self.ends[0])

    @glowplug.endpoint
    def tell(self) -> list:
        return [self.other.pid]

@app.model()
class Computes:
    def setup(self):
        with open("table", "wb") as file:
            file.write(bytes(range(100)))
        with open("table", "rb") as file:
            self.table = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.born = os.getpid()
        random.seed(1)
        numpy.random.seed(1)

    @glowplug.endpoint
    def tell(self) -> list:
        return [self.born, sum(self.table[:]), random.random(), float(numpy.random.rand())]

@app.function()
def imports() -> list:
    return [os.fstat(ends[0].fileno()).st_ino]
"""
FROM_IMPORTED = "so it runs again at each climb from imported"


async def told(node: NodeUnderTest, spec: Any, instance: int, origin: Step) -> list[Any]:
    """What a new worker tells."""
    reached = await node.park(spec, instance, origin)
    assert isinstance(reached, StepReached), reached
    found: list[Any] = json.loads(bytes((await node.call(instance, b"")).body))
    return found


@pytest.mark.parametrize(
    ("name", "left"),
    [("opens", "2 sockets"), ("starts", "a child process and 2 sockets"), ("imports", "2 sockets")],
)
def test_what_is_opened_is_each_workers_own(
    on_node: Callable[..., None], node_folder: Path, name: str, left: str
) -> None:
    source = node_folder / "opens_app.py"
    at_import = "ends = socket.socketpair()" if name == "imports" else ""
    source.write_text(SOURCE.format(at_import=at_import))

    async def scenario(node: NodeUnderTest) -> None:
        spec = (await node.specs(source))[name]
        assert isinstance(await node.import_environment(spec), StepReached)
        built = await node.build(spec)
        assert isinstance(built, Built), built
        assert built.facts.highest_step == Step.IMPORTED
        why = f"staging leaves {left}, which forked workers would share: each makes its own"
        assert built.facts.reason.startswith(why)
        assert (FROM_IMPORTED in built.facts.reason) == (name != "imports")
        refused = await node.stage(spec)
        assert isinstance(refused, CommandFailed)
        assert (refused.code, refused.permanent) == ("unforkable", True)
        assert refused.message == f"{left} after staging: it must not fork"
        first, second = [await told(node, spec, instance, Step.IMPORTED) for instance in (1, 2)]
        assert set(first).isdisjoint(second)

    on_node(scenario)


def test_what_is_computed_is_a_copy_with_random_numbers_of_its_own(
    on_node: Callable[..., None], node_folder: Path
) -> None:
    """From each step alike: the generators begin anew, though setup() seeded them."""
    source = node_folder / "opens_app.py"
    source.write_text(SOURCE.format(at_import=""))

    async def scenario(node: NodeUnderTest) -> None:
        spec = (await node.specs(source))["computes"]
        assert isinstance(await node.import_environment(spec), StepReached)
        built = await node.build(spec)
        assert isinstance(built, Built), built
        assert built.facts.highest_step == Step.PARKED
        assert built.facts.reason.endswith(FROM_IMPORTED)
        alone = [await told(node, spec, instance, Step.IMPORTED) for instance in (1, 2)]
        assert isinstance(await node.stage(spec), StepReached)
        forked = [await told(node, spec, instance, Step.STAGED) for instance in (3, 4)]
        assert len({born for born, *_ in alone}) == 2
        assert len({born for born, *_ in forked}) == 1
        assert {total for _, total, *_ in alone + forked} == {sum(range(100))}
        for position in (2, 3):
            assert len({each[position] for each in alone + forked}) == 4

    on_node(scenario)
