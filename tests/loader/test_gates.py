"""Who reaches for a weight that is not there yet waits for it, by whatever way; and nobody waits for ever."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug.loader.gates import Gates
from glowplug.loader.roots import held_tensors, modules_of
from glowplug.loader.stages import Recorder

pytestmark = pytest.mark.torch

WAYS: dict[str, Callable[[Any], object]] = {
    "attribute": lambda net: net[1].weight,
    "buffer": lambda net: net[2].running_mean,
    "parameters()": lambda net: list(net.parameters()),
    "named_buffers()": lambda net: list(net.named_buffers()),
    "state_dict()": lambda net: net.state_dict(),
    "dict()": lambda net: dict(net[1]._parameters),
    "unpacking": lambda net: {**net[1]._parameters},
    "get()": lambda net: net[1]._parameters.get("weight"),
    "values()": lambda net: list(net[1]._parameters.values()),
    "copy()": lambda net: net[1]._parameters.copy(),
    "|": lambda net: net[1]._parameters | {},
    "pop()": lambda net: net[1]._parameters.pop("weight"),
    "deepcopy": lambda net: copy.deepcopy(net[1]),
    "pickle": lambda net: pickle.dumps(net[1]),
    "forward": lambda net: net(torch.zeros(1, 2)),
    "half()": lambda net: net[1].half(),
}


def net() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).eval()


def guarded(gates: Gates) -> Any:
    """Unit 0 is the first layer, unit 1 the others."""
    model = net()
    unit_of = {id(t): int(module is not model[0]) for module, _, t in held_tensors(model)}
    gates.install(modules_of(model), unit_of)
    return model


def started(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    found: list[object] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, found


def test_what_is_there_already_is_not_guarded() -> None:
    gates = Gates(2)
    gates.open(0)
    model = guarded(gates)
    assert type(model[0]._parameters) is dict
    assert type(model[1]._parameters) is not dict
    failed = Gates(2)
    failed.fail(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        guarded(failed)[0].weight  # noqa: B018 (reaching for it is the use)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_a_weight_waits(way: str) -> None:
    gates = Gates(2)
    stalled = threading.Event()
    gates.on_stall = lambda unit: stalled.set()
    model = guarded(gates)
    gates.open(0)
    thread, found = started(lambda: WAYS[way](model))
    assert stalled.wait(30)
    assert not found
    gates.open(1)
    thread.join(30)
    assert len(found) == 1
    assert not isinstance(found[0], BaseException)


def test_what_is_there_does_not_wait() -> None:
    gates = Gates(2)
    gates.on_stall = lambda unit: pytest.fail("it stalled")
    model = guarded(gates)
    gates.open(0)
    assert model[0].weight.shape == (2, 2)


def test_the_last_gate_takes_all_of_them_away() -> None:
    gates = Gates(2)
    model = guarded(gates)
    gates.open(1)
    gates.open(0)
    gates.open(0)
    assert gates.opened
    assert {type(m.__dict__[d]) for m in model.modules() for d in ("_parameters", "_buffers")} == {dict}


def test_a_weight_that_was_replaced_meanwhile_stays_replaced() -> None:
    gates = Gates(2)
    model = guarded(gates)
    gates.open(1)
    model[1].weight = torch.nn.Parameter(torch.full((2, 2), 7.0))
    gates.open(0)
    assert model[1].weight[0, 0] == 7


def test_gates_installed_too_late_are_not_left_behind() -> None:
    gates = Gates(2)
    gates.open(0)
    gates.open(1)
    assert type(guarded(gates)[0]._parameters) is dict


def test_an_error_reaches_who_waits_and_who_comes_later() -> None:
    gates = Gates(2)
    stalled = threading.Event()
    gates.on_stall = lambda unit: stalled.set()
    model = guarded(gates)
    thread, found = started(lambda: model[0].weight)
    assert stalled.wait(30)
    gates.fail(OSError("the store is gone"))
    thread.join(30)
    assert isinstance(found[0], OSError)
    with pytest.raises(OSError, match="the store is gone"):
        model(torch.zeros(1, 2))
    with pytest.raises(OSError, match="the store is gone"):
        gates.wait_all()


def test_a_copy_of_a_guarded_module_is_free() -> None:
    gates = Gates(2)
    model = guarded(gates)
    gates.open(1)
    assert type(copy.deepcopy(model[1])._parameters) is dict


def test_watched_gates_record_each_first_use_and_stay_until_removed() -> None:
    recorder = Recorder(0.0)
    gates = Gates(2, recorder, watched=True)
    model = guarded(gates)
    gates.open(0)
    gates.open(1)
    model(torch.zeros(1, 2))
    model(torch.zeros(1, 2))
    gates.unwatch()
    timeline = recorder.timeline("any", ("first", "second"), end_s=1e12)
    assert [(one.stage, one.unit) for one in timeline.intervals] == [("compute", 0), ("compute", 1)]
    assert type(model[0]._parameters) is dict


def test_what_was_never_computed_on_has_a_timeline() -> None:
    recorder = Recorder(0.0)
    recorder.add("fetch", 0, 1.0, 2.0)
    timeline = recorder.timeline("any", ("first",), end_s=3.0)
    assert [(one.stage, one.unit) for one in timeline.intervals] == [("fetch", 0)]


def test_the_guard_runs_in_every_thread_that_computes() -> None:
    gates = Gates(2)
    called: list[tuple[int, int]] = []
    gates.guard = lambda unit: called.append((unit, threading.get_ident()))
    model = guarded(gates)
    gates.open(0)
    thread, _ = started(lambda: model[0].weight)
    thread.join(30)
    assert model[0].weight is not None
    assert called == [(0, thread.ident), (0, threading.get_ident())]


def test_units_that_are_all_open_are_guarded_until_they_have_landed() -> None:
    gates = Gates(2)
    called: list[int] = []
    gates.guard = called.append
    model = guarded(gates)
    gates.open(0)
    gates.open(1)
    assert model[1].weight is not None
    assert called == [1]
    gates.landed()
    assert model[1].weight is not None
    assert called == [1]
    assert type(model[1]._parameters) is dict


def test_what_landed_before_the_last_gate_opened_is_not_guarded() -> None:
    gates = Gates(2)
    gates.guard = lambda unit: pytest.fail("there is nothing to wait for")
    model = guarded(gates)
    gates.open(0)
    gates.landed()
    gates.open(1)
    assert model[1].weight is not None
    assert type(model[1]._parameters) is dict


def test_what_is_still_missing_is_waited_for_after_the_watch_ended() -> None:
    gates = Gates(2, watched=True)
    stalled = threading.Event()
    gates.on_stall = lambda unit: stalled.set()
    model = guarded(gates)
    gates.open(0)
    gates.unwatch()
    thread, found = started(lambda: model[1].weight)
    assert stalled.wait(30)
    assert not found
    gates.open(1)
    thread.join(30)
    assert found[0] is model[1].weight
    assert type(model[1]._parameters) is dict


def test_a_copy_that_failed_when_all_was_opened_is_told_to_who_comes_later() -> None:
    gates = Gates(2)
    gates.guard = lambda unit: None
    model = guarded(gates)
    gates.open(0)
    gates.open(1)
    assert model[0].weight is not None
    gates.fail(OSError("the card is gone"))
    gates.landed()
    for layer in model:
        with pytest.raises(OSError, match="the card is gone"):
            layer.weight  # noqa: B018 (reaching for it is the use)


CHANGES: dict[str, Callable[[Any, Any], object]] = {
    "set": lambda held, value: held.__setitem__("weight", value),
    "update": lambda held, value: held.update(weight=value),
    "or": lambda held, value: held.__ior__({"weight": value}),
    "delete and set": lambda held, value: (held.pop("weight"), held.setdefault("weight", value)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_write_by_who_reached_the_waiting_dict_before_it_was_replaced_counts(change: str) -> None:
    gates = Gates(2)
    model = guarded(gates)
    held, value = model[1]._parameters, torch.nn.Parameter(torch.full((2, 2), 7.0))
    gates.open(0)
    gates.open(1)
    CHANGES[change](held, value)
    assert type(model[1]._parameters) is dict
    assert model[1].weight is value


def test_a_name_deleted_late_is_gone() -> None:
    gates = Gates(2)
    model = guarded(gates)
    held = [layer._parameters for layer in model]
    gates.open(0)
    gates.open(1)
    del held[0]["weight"]
    held[1].clear()
    assert [list(layer._parameters) for layer in model[:2]] == [["bias"], []]


def test_threads_that_take_the_gates_away_at_once_do_not_disturb_each_other() -> None:
    for _ in range(30):
        gates = Gates(1, watched=True)
        model = torch.nn.Sequential(*(torch.nn.Linear(1, 1) for _ in range(50)))
        gates.install(modules_of(model), {id(tensor): 0 for _, _, tensor in held_tensors(model)})
        gates.open(0)
        work = [started(gates.unwatch) for _ in range(4)]
        for thread, _ in work:
            thread.join(30)
        assert [found for _, found in work] == [[None]] * 4
        assert {type(layer._parameters) for layer in model} == {dict}


def test_who_waits_for_everything_computes_with_everything() -> None:
    gates = Gates(2)
    called: list[int] = []
    gates.guard = called.append
    gates.open(1)
    gates.open(0)
    gates.wait_all()
    assert called == [0, 1]
    gates.landed()
    gates.wait_all()
    assert called == [0, 1]
