"""Stores that reset, stall, answer with errors, send too little or too much, and flip bits, by seed: the
answer is the plain one, or there is an error that says where; never another answer, never an end of
waiting that does not come.
"""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug import loader
from glowplug.loader.devices import device
from glowplug.loader.errors import RangeRefused, SourceError, SourceMissing, SourceRefused, SourceUnavailable
from glowplug.loader.fetchers import Fetchers
from glowplug.loader.pipeline import begin
from glowplug.loader.sources.faults import Fault, Faults
from glowplug.loader.sources.memory import MemorySource
from glowplug.loader.sources.resuming import ResumingSource
from glowplug.loader.sources.retrying import Retry
from glowplug.loader.sources.throttled import ThrottledSource
from glowplug.loader.strategies import strategy
from tests.loader import nets
from tests.loader.sources.clock import ManualClock

pytestmark = pytest.mark.torch

X = torch.linspace(-1, 1, 512).view(1, 512)
PASSING = (Fault.RESET, Fault.STALL, Fault.SHORT, Fault.LONG, Fault.FLIP, Fault.BROKEN)
LASTING = {Fault.FORBIDDEN: SourceRefused, Fault.MISSING: SourceMissing, Fault.UNSATISFIABLE: RangeRefused}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, int, Any]:
    """(a pack, where its weights begin, the plain answer)"""
    torch.manual_seed(1)
    model, path = nets.Wide().eval(), tmp_path_factory.mktemp("faulty") / "wide.pack"
    loader.pack(model, X, path)
    with loader.open_pack(path) as pack, torch.inference_mode():
        return path.read_bytes(), pack.info.weights_offset, model(X)


def store(content: bytes, faults: Faults, seed: int, attempts: int = 6) -> ResumingSource:
    clock = ManualClock()
    throttled = ThrottledSource(
        MemorySource(content, "wide.pack"), bandwidth_bytes_s=1e9, latency_s=1e-3, jitter_s=1e-3,
        faults=faults, stall_s=1.0, seed=seed, clock=clock,
    )  # fmt: skip
    retry = Retry(attempts=attempts, attempt_s=5.0)
    return ResumingSource(throttled, retry, clock=clock, rng=random.Random(seed))


def answer(source: ResumingSource, name: str) -> Any:
    """What the model says, or the error; in a thread that must end, and so must all those of the load."""
    found: list[Any] = []
    before = set(threading.enumerate())

    def run() -> None:
        try:
            loading = begin(
                source, strategy(name), device=device("cpu"), build=nets.Wide, fetchers=Fetchers()
            )
            with torch.inference_mode():
                found.append(loading.model(X))
        except loader.LoaderError as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert found, "the load neither ended nor failed"
    until_s = time.monotonic() + 60
    while (left := set(threading.enumerate()) - before) and time.monotonic() < until_s:
        time.sleep(0.001)
    assert not left
    return found[0]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", ["streamed", "cicada", "pisel"])
def test_what_passes_is_survived_or_told(wide: tuple[bytes, int, Any], name: str, seed: int) -> None:
    content, _, expected = wide
    rates = dict.fromkeys(PASSING, 0.04 * (1 + seed % 3))
    found = answer(store(content, Faults(rates=rates), seed), name)
    if isinstance(found, loader.LoaderError):
        assert "wide.pack" in str(found)
    else:
        assert torch.equal(found, expected)


@pytest.mark.parametrize("fault", PASSING)
def test_one_fault_that_passes_changes_nothing(wide: tuple[bytes, int, Any], fault: Fault) -> None:
    content, offset, expected = wide
    found = answer(store(content, Faults(at={offset + 2_000_000: fault}), seed=1), "streamed")
    assert torch.equal(found, expected)


@pytest.mark.parametrize("fault", LASTING)
def test_what_does_not_pass_is_told_at_once_and_where(wide: tuple[bytes, int, Any], fault: Fault) -> None:
    content, offset, _ = wide
    found = answer(store(content, Faults(at={offset + 2_000_000: fault}), seed=1), "streamed")
    assert isinstance(found, LASTING[fault])
    assert "wide.pack" in str(found)
    assert "tensors: layers." in str(found)


def test_a_store_that_never_answers_is_given_up(wide: tuple[bytes, int, Any]) -> None:
    content, _, _ = wide
    found = answer(store(content, Faults(rates={Fault.BROKEN: 1.0}), seed=1, attempts=3), "streamed")
    assert isinstance(found, SourceUnavailable)


def test_a_bit_that_flips_every_time_is_damage(wide: tuple[bytes, int, Any]) -> None:
    content, offset, _ = wide

    class Flipping(MemorySource):
        def read_into(self, buffer: Any, at: int, length: int) -> None:
            super().read_into(buffer, at, length)
            if at >= offset:
                memoryview(buffer)[length // 2] ^= 1

    found = answer(ResumingSource(Flipping(content, "wide.pack")), "streamed")
    assert isinstance(found, loader.PackCorrupt)
    assert not isinstance(found, SourceError)
