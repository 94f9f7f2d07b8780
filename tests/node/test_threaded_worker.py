"""Workers whose calls run in threads, in real processes: who reads meanwhile, and how many run."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from glowplug.transport.frames import Kind, encode
from tests.node.worker_process import WorkerProcess, until, until_running, worker_process

_three = threading.Barrier(3)


def echo(text: str) -> str:
    return text


def meet(others: bool) -> bool:
    """Returns when three of it run beside each other; at once when nobody is waited for."""
    if others:
        _three.wait(180)
    return others


def hold(path: str, name: str) -> str:
    """Says that it runs, and waits to be let go."""
    with open(path, "a") as file:
        file.write(f"{name}\n")
    while not Path(f"{path}.go").exists():
        time.sleep(0.001)
    return name


def compute(path: str) -> int:
    """Never lets another thread in by itself."""
    with open(path, "a") as file:
        file.write("running\n")
    number = 0
    while True:
        number += 1


def busy_echo(path: str) -> str:
    """A quick call, unless it is given the name of a file that is not there."""
    while path and not Path(path).exists():
        time.sleep(0.001)
    return path


def become_quick(worker: WorkerProcess, endpoint: str, arguments: object, first: int = 1000) -> None:
    """Until calls are expected to be quick, one alone and several in the socket."""
    for start in range(first, first + 400, 20):
        worker.ask(*[(n, endpoint, arguments) for n in range(start, start + 20)])
        for number in range(start, start + 20):
            worker.answer(number).value()


def test_as_many_as_may_run_beside_each_other() -> None:
    with worker_process(meet, concurrency=3) as worker:
        worker.ask(*[(n, "meet", {"others": True}) for n in range(3)])
        assert all(worker.answer(n).value() for n in range(3))


def test_calls_that_were_quick_may_wait_for_each_other() -> None:
    with worker_process(meet, concurrency=3) as worker:
        become_quick(worker, "meet", {"others": False})
        worker.ask(*[(n, "meet", {"others": True}) for n in range(3)])
        assert all(worker.answer(n).value() for n in range(3))
        become_quick(worker, "meet", {"others": False}, 2000)


@pytest.mark.parametrize("together", [True, False])
def test_a_quick_call_that_turns_out_long_holds_up_nobody(together: bool, tmp_path: Path) -> None:
    path = tmp_path / "go"
    with worker_process(busy_echo, echo, concurrency=2) as worker:
        become_quick(worker, "busy_echo", {"path": ""})
        long, short = (1, "busy_echo", {"path": str(path)}), (2, "echo", {"text": "meanwhile"})
        if together:
            worker.ask(long, short)
        else:
            worker.ask(long)
            worker.ask(short)
        assert worker.answer(2).value() == "meanwhile"
        path.touch()
        assert worker.answer(1).value() == str(path)


def test_no_more_run_than_may_and_one_that_waits_is_never_begun(tmp_path: Path) -> None:
    path = tmp_path / "ran"
    with worker_process(hold, echo, concurrency=2) as worker:
        worker.ask(*[(n, "hold", {"path": str(path), "name": n_as}) for n, n_as in enumerate("abc")])
        until(lambda: path.exists() and len(path.read_text().split()) == 2, "two do not run")
        worker.cancel(2)
        assert worker.let_go() == 2, "it waits: nobody is killed for it"
        assert sorted(path.read_text().split()) == ["a", "b"]
        Path(f"{path}.go").touch()
        assert {worker.answer(n).value() for n in range(2)} == {"a", "b"}
        assert worker.answer(2).code == "cancelled"
        assert sorted(path.read_text().split()) == ["a", "b"]


def test_one_that_waits_is_dropped_when_its_gateway_says_so(tmp_path: Path) -> None:
    """It has not begun: were the worker to die now, it would be sent to another."""
    path = tmp_path / "ran"
    with worker_process(hold, concurrency=2) as worker:
        worker.ask(*[(n, "hold", {"path": str(path), "name": n_as}) for n, n_as in enumerate("abc")])
        until(lambda: path.exists() and len(path.read_text().split()) == 2, "two do not run")
        worker.data.sendall(encode(Kind.CANCEL, 2, None))
        assert worker.answer(2).message == "the request was cancelled before it began"
        Path(f"{path}.go").touch()
        assert {worker.answer(n).value() for n in range(2)} == {"a", "b"}


def test_one_call_is_cancelled_and_those_beside_it_are_not(tmp_path: Path) -> None:
    held, computed = tmp_path / "held", tmp_path / "computed"
    with worker_process(hold, compute, echo, concurrency=2) as worker:
        worker.ask((1, "hold", {"path": str(held), "name": "stays"}), (2, "compute", {"path": str(computed)}))
        until_running(held)
        until_running(computed)
        worker.cancel(2)
        assert worker.let_go() == 2
        assert worker.answer(2).code == "cancelled"
        worker.ask((3, "echo", {"text": "in its place"}))
        assert worker.answer(3).value() == "in its place"
        Path(f"{held}.go").touch()
        assert worker.answer(1).value() == "stays"


def test_a_quick_call_that_turns_out_endless_is_cancelled(tmp_path: Path) -> None:
    with worker_process(busy_echo, concurrency=2) as worker:
        become_quick(worker, "busy_echo", {"path": ""})
        worker.ask((1, "busy_echo", {"path": str(tmp_path / "never")}))
        worker.cancel(1)
        assert worker.let_go() == 1
        assert worker.answer(1).code == "cancelled"
        become_quick(worker, "busy_echo", {"path": ""}, 2000)


def test_the_end_of_the_gateway_is_the_end_whatever_runs(tmp_path: Path) -> None:
    path = tmp_path / "ran"
    with worker_process(compute, echo, concurrency=2) as worker:
        worker.ask(*[(n, "compute", {"path": str(path)}) for n in range(2)])
        until(lambda: path.exists() and len(path.read_text().split()) == 2, "two do not run")


def test_the_first_answers_tell_of_the_climb() -> None:
    with worker_process(echo, concurrency=2) as worker:
        worker.ask((1, "echo", {"text": "a"}))
        first = worker.answer(1)
        assert (set(first.phases), first.origin) == ({"fork", "first_compute"}, "staged")
        worker.ask((2, "echo", {"text": "b"}), (3, "nothing", {}), (4, "echo", {}))
        second = worker.answer(2)
        assert (set(second.phases), second.origin) == ({"compute"}, "parked")
        assert (worker.answer(3).code, worker.answer(4).field) == ("unknown_endpoint", "text")
