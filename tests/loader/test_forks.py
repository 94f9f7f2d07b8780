"""A program may fork while it loads: its child loads what it likes, and waits for nothing in vain."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug import loader
from glowplug.loader import background
from glowplug.loader.arena import NO_ARENA
from glowplug.loader.construct import _SKIPPING, without_init
from glowplug.loader.construction import _COUNTING
from glowplug.loader.devices import device
from glowplug.loader.errors import LoadStopped
from glowplug.loader.fetchers import FETCHERS, Fetchers
from glowplug.loader.gates import Gates
from glowplug.loader.pipeline import Loading, begin
from glowplug.loader.sources.file import open_file
from glowplug.loader.strategies import strategy
from tests.loader import nets
from tests.loader.children import in_another_thread, in_child
from tests.loader.loads import Held

pytestmark = pytest.mark.torch


def begun(source: Any, name: str, on: str = "cpu", fetchers: Fetchers = FETCHERS) -> Loading:
    build = nets.Wide if strategy(name).structure == "constructed" else None
    return begin(source, strategy(name), device=device(on), build=build, fetchers=fetchers)


def answers(model: Any, x: Any, expected: Any) -> bool:
    torch.set_num_threads(1)  # OpenMP's do not outlive a fork either
    with torch.inference_mode():
        return bool(torch.allclose(model(x), expected, atol=1e-5))


class Ending(Fetchers):
    """Whoever has read something does not look for more, nor end, before the test says so."""

    def __init__(self) -> None:
        self.read, self.go = threading.Event(), threading.Event()
        super().__init__(threads=1)

    def _finish(self, *arguments: Any) -> None:
        super()._finish(*arguments)
        self.read.set()
        assert self.go.wait(30)


LOCKS: dict[str, Callable[[], Any]] = {
    "fetchers": lambda: FETCHERS._condition,
    "arena": lambda: NO_ARENA._lock,
    "background": lambda: background._lock,
    "initialising": lambda: _SKIPPING._lock,
    "counting": lambda: _COUNTING._lock,
}


@pytest.mark.parametrize("name", LOCKS)
def test_a_child_loads_whatever_lock_another_thread_of_its_parent_held(wide: Any, name: str) -> None:
    path, _, x, expected = wide
    with in_another_thread(LOCKS[name]):
        found = in_child(lambda: answers(loader.load(path, strategy="cicada", build=nets.Wide), x, expected))
    assert found == "True"


@pytest.mark.parametrize("name", ["streamed", "mapped", "cicada"])
def test_a_child_loads_though_threads_of_its_parent_had_not_ended(wide: Any, name: str) -> None:
    path, _, x, expected = wide
    fetchers = Ending()
    loading = begun(open_file(path), "streamed", fetchers=fetchers)
    assert fetchers.read.wait(30)

    def work() -> bool:
        fetchers.go.set()
        own = begun(open_file(path), name, fetchers=fetchers)
        own.wait()
        return answers(own.model, x, expected)

    assert in_child(work) == "True"
    fetchers.go.set()
    loading.wait()


@pytest.mark.parametrize("on", ["cpu", "virtual"])
@pytest.mark.parametrize("name", ["streamed", "cicada", "decoupled"])
def test_what_was_under_way_never_comes_to_a_child(wide: Any, name: str, on: str) -> None:
    path, offset, x, expected = wide
    held = Held(open_file(path), offset)
    loading = begun(held, name, on)
    assert held.asked.wait(30)
    wording = f"LoadStopped: {path}: this process was forked while its weights were on their way"
    assert in_child(lambda: answers(loading.model, x, expected)).startswith(wording)
    assert in_child(loading.wait).startswith(wording)
    assert in_child(lambda: loading.done) == "False"
    held.go.set()
    loading.wait()
    with torch.inference_mode():
        assert torch.allclose(loading.model(x), expected, atol=1e-5)


def test_a_childs_load_is_not_its_parents_of_the_same_number(wide: Any) -> None:
    path, offset, x, expected = wide
    held = Held(open_file(path), offset)
    fetchers = Fetchers()
    loading = begun(held, "streamed", fetchers=fetchers)
    assert held.asked.wait(30)

    def work() -> bool:
        source = Held(open_file(path), offset)
        own = begun(source, "streamed", fetchers=fetchers)
        loading.promote(loader.BACKGROUND)
        loading.stop()
        source.go.set()
        own.wait()
        return answers(own.model, x, expected)

    assert in_child(work) == "True"
    held.go.set()
    loading.wait()


class SlowToClose:
    """A file whose descriptor is closed when the test says so; until then its load has not ended."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.name, self.size, self.advice = inner.name, inner.size, inner.advice
        self.closing, self.go = threading.Event(), threading.Event()

    def read_into(self, buffer: Any, offset: int, length: int) -> None:
        self.inner.read_into(buffer, offset, length)

    def close(self) -> None:
        self.closing.set()
        assert self.go.wait(30)
        self.inner.close()


def test_a_child_has_what_had_come_though_the_load_had_not_ended(wide: Any) -> None:
    path, _, x, expected = wide
    source = SlowToClose(open_file(path))
    loading = begun(source, "streamed")
    assert source.closing.wait(30)
    assert not loading.done

    def work() -> tuple[bool, bool]:
        right = answers(loading.model, x, expected)
        loading.wait()
        loading.model.to(torch.float64)  # writes to what guarded the weights
        return right, loading.done

    assert in_child(work) == "(True, True)"
    source.go.set()
    loading.wait()


def test_a_childs_modules_are_changed_though_its_parent_was_changing_one(wide: Any) -> None:
    path, offset, *_ = wide
    held = Held(open_file(path), offset)
    loading = begun(held, "streamed")
    assert held.asked.wait(30)

    def work() -> bool:
        loading.model.register_parameter("more", torch.nn.Parameter(torch.ones(2)))
        for module in loading.model.modules():
            module._parameters.clear()
        return True

    with in_another_thread(lambda: loading._gates.lock):
        assert in_child(work) == "True"
    held.go.set()
    loading.wait()


def test_a_child_initialises_its_models_though_its_parent_built_one_without() -> None:
    original = torch.nn.init.trunc_normal_
    with in_another_thread(without_init):
        assert torch.nn.init.trunc_normal_ is not original
        assert in_child(lambda: torch.nn.init.trunc_normal_ is original) == "True"
    assert torch.nn.init.trunc_normal_ is original


def test_a_child_makes_no_open_gate_anew_and_takes_no_lock_of_one() -> None:
    """For 500 units that is a millisecond in each fork, for loads that ended long ago."""
    whole, part = Gates(3), Gates(3)
    for unit in range(3):
        whole.open(unit)
    part.open(1)
    events = list(whole._events), part._events[1]

    def work() -> tuple[bool, ...]:
        whole.wait_all()
        whole.wait(1)
        whole.fail(LoadStopped("late"))
        same = [one is other for one, other in zip(whole._events, events[0], strict=True)]
        return all(same), part._events[1] is events[1], isinstance(part.error, LoadStopped)

    with in_another_thread(lambda: events[0][1]._cond), in_another_thread(lambda: events[1]._cond):
        assert in_child(work) == "(True, True, True)"
