"""The usual worker, in a real process: order, errors, deadlines, cancelling, and bodies in shared memory;
what holds in threads too is tested of both."""

from __future__ import annotations

import gc
import io
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from glowplug.core.bodies import NPY
from glowplug.core.errors import GlowplugError, NoSpace, RequestCancelled
from glowplug.node.procfs import private_dirty_bytes
from tests.node.worker_process import until, until_running, worker_process


def echo(text: str) -> str:
    return text


def fail(how: str) -> None:
    if how == "ours":
        raise NoSpace("no room on the shelf")
    if how == "exit":
        raise SystemExit(3)
    if how == "name":
        raise LookupError("no caf\udce9")
    if how == "several lines":
        error = LookupError("1 error in Item\nprice\n  must be positive")
        error.add_note("asked for by a test")
        raise error
    if how == "syntax":
        compile("1 +", "generated.py", "exec")
    if how == "our name":
        raise NoSpace("no caf\udce9")
    raise LookupError("no such luck")


def wait(path: str) -> str:
    """Says that it runs, and then waits for ever. It may be interrupted as soon as it says so."""
    try:
        with open(path, "w") as file:
            file.write("running\n")
        time.sleep(1000)
    except RequestCancelled:
        with open(path, "a") as file:
            file.write("cancelled\n")
        raise
    return "never"


def double(x: np.ndarray) -> np.ndarray:
    return x * 2


def mirror(x: np.ndarray) -> np.ndarray:
    return x


def scribble(x: np.ndarray) -> float:
    x[:] = 1
    return float(x.sum())


BOTH = pytest.mark.parametrize("concurrency", [1, 3])
kept: list[Any] = []


def keep(x: np.ndarray) -> int:
    kept.append(x)
    return len(kept)


def litter() -> int:
    """Leaves memory free that the C allocator keeps: what is allocated last lies above it."""
    gc.freeze()  # as in a worker: collecting what the parent made would copy its pages
    pieces = [bytes(4000) for _ in range(20_000)]
    kept.append(bytes(4000))
    return len(pieces)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_pipelined_requests_are_answered_in_order() -> None:
    with worker_process(echo, fail) as worker:
        worker.ask(*[(n, "echo", {"text": str(n)}) for n in range(300)])
        worker.ask((300, "fail", {"how": "raise"}), (301, "", {"text": "the first is the default"}))
        for number in range(300):
            assert worker.answer(number).value() == str(number)
        failed = worker.answer(300)
        assert (failed.code, failed.message) == ("function_failed", "LookupError: no such luck")
        last = worker.answer(301)
        assert last.value() == "the first is the default"
        assert (set(last.phases), last.origin) == ({"compute"}, "parked")
        assert worker.order == list(range(302))


def test_the_first_answer_tells_of_the_climb() -> None:
    with worker_process(echo) as worker:
        worker.ask((1, "echo", {"text": "a"}))
        first = worker.answer(1)
        assert set(first.phases) == {"fork", "first_compute"}
        assert first.origin == "staged"


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        ("ours", "function_failed", "NoSpace (no_space): no room on the shelf"),
        ("exit", "function_failed", "SystemExit: 3"),
        (
            "several lines", "function_failed",
            "LookupError: 1 error in Item\nprice\n  must be positive\nasked for by a test",
        ),
        ("syntax", "function_failed", "SyntaxError: invalid syntax"),
    ],
)  # fmt: skip
def test_errors_say_what_was_raised(how: str, code: str, message: str) -> None:
    with worker_process(fail, echo) as worker:
        worker.ask(
            (1, "fail", {"how": how}), (2, "fail", {"no": 1}), (3, "nothing", {}), (4, "echo", {"text": "a"})
        )
        failed = worker.answer(1)
        assert (failed.code, failed.message) == (code, message)
        assert (worker.answer(2).field, worker.answer(3).code) == ("how", "unknown_endpoint")
        assert worker.answer(4).value() == "a"


def test_an_error_that_is_no_text_is_spelt_out() -> None:
    """As of a file whose name is bytes of another encoding."""
    with worker_process(fail, echo) as worker:
        worker.ask((1, "fail", {"how": "name"}), (2, "fail", {"how": "our name"}), (3, "echo", {"text": "a"}))
        assert worker.answer(1).message == r"LookupError: no caf\udce9"
        assert worker.answer(2).message == r"NoSpace (no_space): no caf\udce9"
        assert worker.answer(3).value() == "a"


@BOTH
def test_a_deadline_that_passed_in_the_socket_is_not_run(concurrency: int) -> None:
    with worker_process(echo, concurrency=concurrency) as worker:
        worker.ask((1, "echo", {"text": "late"}), deadline_s=time.monotonic() - 1)
        worker.ask((2, "echo", {"text": "in time"}), deadline_s=time.monotonic() + 1000)
        assert worker.answer(1).code == "deadline_passed"
        assert worker.answer(2).value() == "in time"


def test_cancelling_stops_what_runs_and_what_waits_and_nothing_else(tmp_path: Any) -> None:
    path = tmp_path / "door"
    with worker_process(wait, echo) as worker:
        worker.ask((1, "wait", {"path": str(path)}), (2, "echo", {"text": "b"}), (3, "echo", {"text": "c"}))
        until_running(path)
        worker.cancel(2)
        assert worker.let_go() == 2, "it does not run: nobody is killed for it"
        worker.cancel(1)
        assert worker.let_go() == 1
        assert worker.answer(1).code == worker.answer(2).code == "cancelled"
        assert worker.answer(3).value() == "c"
        assert path.read_text() == "running\ncancelled\n"
        worker.cancel(3)
        assert worker.let_go() == 3, "it was over"
        worker.ask((4, "echo", {"text": "d"}))
        assert worker.answer(4).value() == "d"


def test_cancels_that_come_before_the_worker_reads_are_kept() -> None:
    with worker_process(echo) as worker:
        worker.cancel(1)
        worker.ask((1, "echo", {"text": "a"}), (2, "echo", {"text": "b"}))
        assert worker.let_go() == 1
        assert worker.answer(2).value() == "b"


@BOTH
def test_cancelling_at_any_moment_leaves_the_framing_whole(concurrency: int) -> None:
    """Many requests, each cancelled at a moment that nobody chose: each is answered once, whole."""
    with worker_process(echo, concurrency=concurrency) as worker:
        for start in range(0, 600, 20):
            worker.ask(*[(n, "echo", {"text": "x" * 2000}) for n in range(start, start + 20)])
            for number in range(start, start + 20, 3):
                worker.cancel(number)
            for number in range(start, start + 20):
                answer = worker.answer(number)
                assert answer.code == "cancelled" or answer.value() == "x" * 2000
                assert not answer.code or number % 3 == start % 3


@BOTH
def test_an_array_in_shared_memory_is_neither_copied_nor_kept(concurrency: int) -> None:
    array = np.arange(150_000, dtype=np.float32).reshape(300, -1)
    with worker_process(double, mirror, scribble, concurrency=concurrency) as worker:
        for number in range(1, 7):
            name = ("double", "mirror", "scribble")[number % 3]
            worker.ask_in_region(number, name, npy(array), content_type=NPY, accept=NPY)
            answer = worker.answer(number)
            assert answer.region_free, "the view is gone with the call"
            if name == "scribble":
                assert answer.value() == array.size
            else:
                found = np.load(io.BytesIO(answer.body))
                np.testing.assert_array_equal(found, array * 2 if name == "double" else array)


@BOTH
def test_an_array_that_the_function_keeps_stays_what_it_was(concurrency: int) -> None:
    array = np.arange(150_000, dtype=np.float32)
    with worker_process(keep, concurrency=concurrency) as worker:
        worker.ask_in_region(1, "keep", npy(array), content_type=NPY)
        answer = worker.answer(1)
        assert (answer.value(), answer.region_free) == (1, False)


@BOTH
def test_an_error_lets_go_of_the_array(concurrency: int) -> None:
    def refuse(x: np.ndarray) -> None:
        raise GlowplugError(f"{x.size} are too many")

    with worker_process(refuse, concurrency=concurrency) as worker:
        worker.ask_in_region(1, "refuse", npy(np.zeros(150_000)), content_type=NPY)
        answer = worker.answer(1)
        assert (answer.message, answer.region_free) == ("GlowplugError (internal): 150000 are too many", True)


@pytest.fixture
def uncollected() -> Iterator[None]:
    """This process writes to none of the pages that it shares with a worker: the worker's copies would count
    as the worker's own."""
    gc.disable()
    yield
    gc.enable()


@BOTH
@pytest.mark.usefixtures("uncollected")
def test_what_a_long_call_left_is_given_back_when_nothing_comes(concurrency: int) -> None:
    with worker_process(litter, concurrency=concurrency) as worker:
        worker.ask((1, "litter", {}))
        assert worker.answer(1).value() == 20_000
        until(lambda: private_dirty_bytes(worker.pid) < 60 * 10**6, "nothing was given back")
        worker.ask((2, "litter", {}))
        assert worker.answer(2).value() == 20_000
