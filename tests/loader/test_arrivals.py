"""Weights come while their object is in use already: who reaches for one waits, and has it sent ahead."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import threading
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug import loader
from glowplug.loader.devices import device
from glowplug.loader.fetchers import Fetchers
from glowplug.loader.pipeline import begin
from glowplug.loader.sources.file import open_file
from glowplug.loader.strategies import strategy
from tests.loader import nets
from tests.loader.loads import Held, start

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("name", ["streamed", "cicada"])
def test_the_object_is_there_before_its_weights(wide: Any, name: str) -> None:
    path, offset, x, expected = wide
    source = Held(open_file(path), offset)
    loading = start(source, name, nets.Wide)
    assert not loading.done
    assert source.asked.wait(30)
    source.go.set()
    with torch.inference_mode():
        assert torch.equal(loading.model(x), expected)
    loading.wait()
    assert loading.done


def test_a_stall_sends_what_is_awaited_ahead(wide: Any) -> None:
    path, offset, _, _ = wide
    source = Held(open_file(path), offset)
    loading = begin(source, strategy("streamed"), device=device("cpu"), fetchers=Fetchers(threads=1))
    assert source.asked.wait(30)
    last = loading.contents.header.units[-1]
    stalled = threading.Event()
    promote = loading._gates.on_stall

    def on_stall(unit: int) -> None:
        promote(unit)
        stalled.set()

    loading._gates.on_stall = on_stall
    layer = dict(loading.model.named_modules())[last.layers[0]]
    waiting = threading.Thread(target=lambda: layer.weight)
    waiting.start()
    assert stalled.wait(30)
    source.go.set()
    waiting.join(30)
    loading.wait()
    assert len(source.offsets) >= 3
    assert source.offsets[1] == max(source.offsets)


def test_a_promoted_load_goes_on(wide: Any) -> None:
    path, offset, x, expected = wide
    source = Held(open_file(path), offset)
    loading = start(source, "streamed", priority=loader.BACKGROUND)
    assert source.asked.wait(30)
    loading.promote(loader.INTERACTIVE)
    source.go.set()
    with torch.inference_mode():
        assert torch.equal(loading.model(x), expected)
