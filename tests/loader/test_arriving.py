"""A pack that is mapped while somebody else still writes its weights."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug import loader
from glowplug.loader.arriving import announce, announce_failure
from tests.loader import nets

pytestmark = pytest.mark.torch

X = torch.linspace(-1, 1, 512).view(1, 512)


class Writer:
    """Copies a pack's units one by one into an unfinished file, and tells of each."""

    def __init__(self, whole: Path, unfinished: Path) -> None:
        with loader.open_pack(whole) as pack:
            self.info = pack.info
        self.content = whole.read_bytes()
        self.path = unfinished
        start, end = self.info.weights_offset, self.info.weights_offset + self.info.weights_nbytes
        unfinished.write_bytes(self.content[:start] + bytes(end - start) + self.content[end:])
        self.reader, self.writer = os.pipe()

    def write(self, *units: int) -> None:
        with self.path.open("r+b") as file:
            for unit in units:
                start = self.info.weights_offset + self.info.units[unit].offset
                file.seek(start)
                file.write(self.content[start : start + self.info.units[unit].nbytes])
        announce(self.writer, list(units))

    def close(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    torch.manual_seed(1)
    loader.pack(nets.Wide().eval(), X, tmp_path / "whole.pack")
    found = Writer(tmp_path / "whole.pack", tmp_path / "unfinished")
    yield found
    found.close()


def answer(model: Any) -> Any:
    with torch.inference_mode():
        return model(X)


def test_the_first_pass_runs_while_weights_arrive(writer: Writer, tmp_path: Path) -> None:
    expected = answer(loader.load(tmp_path / "whole.pack"))
    with loader.open_pack(writer.path, writer.reader) as pack:
        model: Any = pack.load()
        passed = [threading.Event() for _ in model.layers]
        for layer, event in zip(model.layers, passed, strict=True):
            layer.register_forward_hook(lambda *_, event=event: event.set())
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(answer(model)))
        thread.start()
        for unit in range(len(writer.info.units)):
            assert not passed[-1].is_set()
            writer.write(unit)
            assert passed[0].wait(30)
        thread.join(30)
    assert torch.equal(found[0], expected)
    assert pack.error is None


def test_a_writer_that_goes_away_is_noticed(writer: Writer) -> None:
    with loader.open_pack(writer.path, writer.reader) as pack:
        model: Any = pack.load()
        writer.write(0)
        writer.close()
        with pytest.raises(loader.LoadStopped, match="its weights stopped coming; ask again"):
            answer(model)
        assert isinstance(pack.error, loader.LoadStopped)


def test_a_writer_that_fails_says_why(writer: Writer) -> None:
    with loader.open_pack(writer.path, writer.reader) as pack:
        model: Any = pack.load()
        announce_failure(writer.writer, "the bucket is gone")
        writer.close()
        with pytest.raises(loader.LoadStopped, match="the bucket is gone"):
            answer(model)


def test_a_unit_that_does_not_exist_fails_the_load(writer: Writer) -> None:
    with loader.open_pack(writer.path, writer.reader) as pack:
        model: Any = pack.load()
        announce(writer.writer, [99])
        with pytest.raises(loader.LoadStopped, match="nothing more is heard"):
            answer(model)


def test_nothing_is_read_ahead_of_the_writer(writer: Writer) -> None:
    with loader.open_pack(writer.path, writer.reader) as pack:
        assert not pack.prefetch().running
