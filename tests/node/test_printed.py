"""Functions that print more than anybody reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from glowplug.core.events import StepReached
from glowplug.core.ladder import Step
from glowplug.node import wire
from glowplug.node.printed import LINE_BYTES, texts, told

from .conftest import NodeUnderTest

SOURCE = """
import glowplug
app = glowplug.App("talking")

@app.function()
def talk() -> None:
    print("\\n" * 300_000, flush=True)
    print("the end", flush=True)
"""


@pytest.mark.parametrize("line", [b"", b"x" * LINE_BYTES, b"\xff" * LINE_BYTES, "\U0001f600".encode() * 2048])
def test_messages_are_filled_and_can_be_sent(line: bytes) -> None:
    lines = texts([b"first", *[line] * 50, b"last"], 51)
    messages = list(told("f", 1, "stdout", lines))
    assert [text for message in messages for text in message.lines] == [
        line.decode("utf-8", "replace")
    ] * 50 + ["last"]
    sizes = [len(wire.encoded(message)) for message in messages]
    assert all(size > 15_000 for size in sizes[:-1])


@pytest.mark.e2e
def test_a_function_that_prints_newlines_occupies_nobody(
    on_node: Callable[..., None], node_folder: Path
) -> None:
    source = node_folder / "talking_app.py"
    source.write_text(SOURCE)

    async def scenario(node: NodeUnderTest) -> None:
        spec = (await node.specs(source))["talk"]
        await node.import_environment(spec)
        await node.build(spec)
        assert isinstance(await node.park(spec, 1, Step.IMPORTED), StepReached)
        assert (await node.call(1, b"{}")).error is None
        await node.descend("instance", "1", Step.IMPORTED)
        assert node.said[-1].lines[-1] == "the end"
        assert len(node.said) < 100

    on_node(scenario)
