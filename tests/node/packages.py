"""Functions with packages of their own, and what a node has of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from glowplug.core.commands import Climb, Target
from glowplug.core.events import CommandFailed, Event, StepReached
from glowplug.core.ids import CommandId
from glowplug.core.ladder import Step
from glowplug.core.specs import FunctionSpec

from .conftest import NODE, NodeUnderTest

SOURCE = """
import glowplug, os
import tiny
app = glowplug.App("env", requirements={lines}, build_from_source={from_source})

@app.function(name="{name}", libraries={libraries})
def version() -> list:
    return [tiny.VERSION, os.path.basename(glowplug.__file__), os.access(tiny.__file__, os.W_OK)]
"""


async def required(
    node: NodeUnderTest,
    *lines: str,
    name: str = "version",
    namespace: str = "default",
    source: bool = False,
    libraries: tuple[str, ...] = (),
) -> FunctionSpec:
    path = node.folder / "env_app.py"
    path.write_text(SOURCE.format(lines=list(lines), name=name, from_source=source, libraries=libraries))
    spec = (await node.specs(path))[name]
    return msgspec.structs.replace(spec, namespace=namespace)


def from_shelf(shelf: Path, *lines: str) -> tuple[str, ...]:
    return ("--no-index", f"--find-links {shelf}", *lines)


def climb(node: NodeUnderTest, spec: FunctionSpec, number: int) -> None:
    target = Target("environment", NODE, spec.environment_key)
    node.engine.submit(Climb(CommandId(number), target, Step.IMPORTED, spec))


def outcome_of(number: int) -> Callable[[Event], bool]:
    return lambda e: isinstance(e, (StepReached, CommandFailed)) and e.command == number


def built_folders(node: NodeUnderTest, spec: FunctionSpec) -> list[Path]:
    folder = node.store.environments.built / spec.packages
    return [path for path in folder.iterdir() if path.is_dir()] if folder.exists() else []
