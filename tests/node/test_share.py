"""What a function's processes take of the machine: set before its own code runs, and kept by its children."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glowplug.core.events import Built, StepReached
from glowplug.core.ladder import Step
from glowplug.core.priority import Priority
from glowplug.core.specs import Declaration, FunctionSpec
from glowplug.loader.arbiter import Priority as IoClass
from glowplug.node import share

from .conftest import NodeUnderTest

SOURCE = """
import os
import glowplug
app = glowplug.App("shares")

def share():
    try:
        group = open("/proc/self/autogroup").read()
    except OSError:
        group = ""
    threads = [os.environ["GLOWPLUG_THREADS"], os.environ["OMP_NUM_THREADS"]]
    torch = __import__("sys").modules.get("torch")
    if torch is not None:
        threads.append(str(torch.get_num_threads()))
    return {"nice": os.getpriority(os.PRIO_PROCESS, 0), "group": group, "threads": threads}

class Tells:
    def setup(self):
        self.seen = share()

    @glowplug.endpoint
    def tell(self) -> list:
        return [self.seen, share()]

@app.model(LIBRARIES)
class Usual(Tells): ...

@app.model(LIBRARIES, priority="batch", threads=3)
class Batch(Tells): ...

@app.model(LIBRARIES, priority="background", threads=2, max_workers=2)
class Background(Tells): ...

@app.model(LIBRARIES, threads=3, target_concurrency=2)
class Several(Tells): ...
"""


def spec_of(**declared: Any) -> FunctionSpec:
    declaration = Declaration(name="f", kind="model", module="m", qualname="M", **declared)
    return FunctionSpec("f.default", "v", "default", "e", "u", declaration)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("declared", "cores", "threads"),
    [
        ({}, 8, 8),
        ({"max_workers": 2}, 8, 4),
        ({"max_workers": 3}, 8, 2),
        ({"max_workers": 9}, 8, 1),
        ({"max_workers": 2, "threads": 7}, 8, 7),
    ],
)
def test_undeclared_threads_of_all_workers_are_the_cores(
    declared: dict[str, Any], cores: int, threads: int
) -> None:
    assert share.threads_of(spec_of(**declared), cores) == threads


def test_classes_are_nice_and_builds_nicer() -> None:
    nice = [share.nice_of(spec_of(priority=one.label), building=False) for one in reversed(Priority)]
    assert nice == sorted(set(nice))
    assert nice[0] == 0
    builds = [share.nice_of(spec_of(priority=one.label), building=True) for one in reversed(Priority)]
    assert builds == [10, 10, 19]


def test_weights_are_read_in_the_class_of_who_waits() -> None:
    assert [share.io_class(rank) for rank in (0, *Priority)] == [
        IoClass.BACKGROUND, IoClass.BACKGROUND, IoClass.BATCH, IoClass.INTERACTIVE,
    ]  # fmt: skip


@pytest.mark.e2e
@pytest.mark.parametrize("library", ["", pytest.param("torch", marks=pytest.mark.torch)])
def test_each_process_of_a_function_has_its_share_before_its_code_runs(
    on_node: Callable[..., None], node_folder: Path, library: str
) -> None:
    source = node_folder / "shares_app.py"
    source.write_text(SOURCE.replace("LIBRARIES", f"libraries={[library] if library else []}"))
    own = os.getpriority(os.PRIO_PROCESS, 0)
    expected = {"usual": (0, 1), "batch": (10, 3), "background": (19, 2), "several": (0, 3)}

    async def scenario(node: NodeUnderTest) -> None:
        specs = await node.specs(source)
        assert isinstance(await node.import_environment(specs["usual"]), StepReached)
        for number, (name, (nice, threads)) in enumerate(expected.items()):
            built = await node.build(specs[name])
            assert isinstance(built, Built), built
            assert isinstance(await node.stage(specs[name], built.facts), StepReached)
            for instance, origin in ((10 + number, Step.IMPORTED), (20 + number, Step.STAGED)):
                assert isinstance(await node.park(specs[name], instance, origin), StepReached)
                for told in json.loads(bytes((await node.call(instance, b"{}")).body)):
                    assert told["nice"] == max(own, nice)
                    assert set(told["threads"]) == {str(threads)}
                    if nice and "nice" in told["group"]:
                        assert told["group"].strip().endswith(f"nice {nice}")

    on_node(scenario)
