"""A function without a model, from its source file to an answer, in real processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from glowplug.core.errors import FunctionFailed, InvalidArguments
from glowplug.core.events import Built, StepReached
from glowplug.core.ladder import Step

from .conftest import NodeUnderTest

pytestmark = pytest.mark.e2e

SOURCE = """
import glowplug, os, sys
app = glowplug.App("plain")

@app.function()
def shout(text: str, times: int = 1) -> str:
    print("shouting", text)
    return text.upper() * times

@app.function()
def fail() -> None:
    raise LookupError("no such luck")

@app.function()
def who() -> list:
    return [os.getuid(), os.environ.get("COLOUR", ""), sys.stdin.read()]
"""


def write_source(folder: Path, text: str = SOURCE) -> Path:
    path = folder / "plain_app.py"
    path.write_text(text)
    return path


def test_climbs_answers_and_descends(on_node: Callable[..., None], node_folder: Path) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        spec = (await node.specs(write_source(node_folder)))["shout"]
        assert isinstance(await node.import_environment(spec), StepReached)
        built = await node.build(spec)
        assert isinstance(built, Built), built
        assert built.facts.highest_step == Step.PARKED
        staged = await node.stage(spec)
        assert isinstance(staged, StepReached), staged
        for instance, origin in ((1, Step.STAGED), (2, Step.IMPORTED)):
            parked = await node.park(spec, instance, origin)
            assert isinstance(parked, StepReached), parked
            reply = await node.call(instance, b'{"text": "hi", "times": 2}')
            assert bytes(reply.body) == b'"HIHI"'
            assert reply.phases["compute"] > 0
        lost = await node.descend("instance", "1", Step.STAGED)
        assert lost.target.key == "1"
        await node.descend("version", spec.version, Step.IMPORTED)
        await node.descend("environment", spec.environment_key, Step.LOCAL)
        assert any("shouting hi" in said.lines for said in node.said)

    on_node(scenario)


def test_errors_of_the_caller_and_of_the_code_stay_apart(
    on_node: Callable[..., None], node_folder: Path
) -> None:
    async def scenario(node: NodeUnderTest) -> None:
        specs = await node.specs(write_source(node_folder))
        await node.import_environment(specs["shout"])
        for number, name in enumerate(specs, 1):
            await node.build(specs[name])
            await node.park(specs[name], number, Step.IMPORTED)
        with pytest.raises(InvalidArguments, match="text") as wrong:
            await node.call(1, b'{"text": 5}')
        assert wrong.value.field == "text"
        with pytest.raises(InvalidArguments, match="missing"):
            await node.call(1, b"{}")
        with pytest.raises(FunctionFailed, match="LookupError: no such luck"):
            await node.call(2, b"")
        again = await node.call(1, b'{"text": "still here"}')
        assert bytes(again.body) == b'"STILL HERE"'
        uid, colour, stdin = __import__("json").loads(bytes((await node.call(3, b"")).body))
        assert (colour, stdin) == ("green", "")
        assert uid != 0 or "no" in node.engine.isolation["own user"]

    on_node(scenario, env={"COLOUR": "green"})
