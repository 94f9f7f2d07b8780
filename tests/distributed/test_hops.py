"""A head and its parts over a real channel: results, errors, calls that were given up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug.core.errors import FunctionFailed  # noqa: E402
from glowplug.distributed.channels.shared_memory import SharedMemoryRoom  # noqa: E402
from glowplug.distributed.errors import ChannelClosed  # noqa: E402
from glowplug.distributed.hops import Hop, Others, serve  # noqa: E402
from glowplug.distributed.stages import Call  # noqa: E402

pytestmark = pytest.mark.torch
WORKERS = 3


def times_ten(call: Call) -> Call:
    if call.hidden.sum() < 0:
        raise ValueError("it is negative")
    if call.hidden.sum() > 1e6:
        raise ValueError("no file \udcff" + 10**6 * "x")
    return call._replace(hidden=call.hidden * 10 + call.args[0])


@pytest.fixture
def room(tmp_path: Path) -> Iterator[SharedMemoryRoom]:
    with SharedMemoryRoom(str(tmp_path)).open("gang", WORKERS) as found:
        yield found


@pytest.fixture
def head(room: SharedMemoryRoom) -> Hop:
    """Its parts run in threads of their own, until the room is closed."""
    ends = [room.end(worker) for worker in range(WORKERS)]

    def part(worker: int) -> None:
        with pytest.raises((ChannelClosed, OSError, ValueError)):
            serve(Hop(ends[worker], "gang", WORKERS), times_ten, worker)

    threads = [threading.Thread(target=part, args=(worker,), daemon=True) for worker in range(1, WORKERS)]
    for thread in threads:
        thread.start()
    return Hop(ends[0], "gang", WORKERS)


def call_of(value: float) -> Call:
    return Call(torch.full((2, 3), value), (torch.tensor(1.0),), {})


def result_of(others: Others, call: Call) -> Any:
    others.begin(call)
    return others.finish()


def test_a_result_has_been_through_every_part(head: Hop) -> None:
    others = Others(head)
    for value in (0.0, 1.0, 2.5):
        assert torch.equal(result_of(others, call_of(value)), torch.full((2, 3), 100 * value + 11))


def test_an_error_of_a_part_is_the_heads_and_the_next_call_goes_well(head: Hop) -> None:
    others = Others(head)
    with pytest.raises(FunctionFailed, match="worker 1 of the gang: ValueError: it is negative"):
        result_of(others, call_of(-1.0))
    assert result_of(others, call_of(1.0))[0, 0] == 111


def test_an_error_that_is_no_text_and_long_is_the_heads_too(head: Hop) -> None:
    others = Others(head)
    with pytest.raises(FunctionFailed, match=r"worker 1 of the gang: ValueError: no file \\udcffx") as failed:
        result_of(others, call_of(1e6))
    assert len(str(failed.value)) < 2500
    assert result_of(others, call_of(1.0))[0, 0] == 111


def test_what_was_given_up_answers_nobody_else(head: Hop) -> None:
    others = Others(head)
    others.begin(call_of(7.0))
    assert result_of(others, call_of(1.0))[0, 0] == 111


def test_a_step_that_was_never_sent_is_passed_over(head: Hop) -> None:
    others = Others(head)
    assert result_of(others, call_of(1.0))[0, 0] == 111
    others._step += 1  # as by an interrupt before the first byte
    assert result_of(others, call_of(2.0))[0, 0] == 211


def test_nothing_of_what_is_done_stays(head: Hop, room: SharedMemoryRoom) -> None:
    others = Others(head)
    for _ in range(5):
        result_of(others, call_of(1.0))
    head.done(6)
    last = [path for worker in range(WORKERS) for path in (room.path / str(worker)).glob("0-*")]
    assert len(last) <= WORKERS - 1  # a part fences its step off after it has handed on


def test_calls_of_several_threads_are_in_several_stages_at_a_time(room: SharedMemoryRoom) -> None:
    """The second part keeps the first call until the second one has come to the first part."""
    ends = [room.end(worker) for worker in range(WORKERS)]
    calls = dict.fromkeys(range(1, WORKERS), 0)
    overlap = threading.Event()

    def stage(worker: int, call: Call) -> Call:
        calls[worker] += 1
        if worker == 1 and calls[1] == 2:
            overlap.set()
        if worker == 2:
            assert overlap.wait(60)
        return call._replace(hidden=call.hidden * 10 + worker)

    def part(worker: int) -> None:
        with pytest.raises((ChannelClosed, OSError, ValueError)):
            serve(Hop(ends[worker], "gang", WORKERS), lambda call: stage(worker, call), worker)

    for worker in range(1, WORKERS):
        threading.Thread(target=part, args=(worker,), daemon=True).start()
    others = Others(Hop(ends[0], "gang", WORKERS))
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(result_of, others, call_of(value)) for value in (1.0, 2.0)]
        assert [each.result(60)[0, 0].item() for each in asked] == [112.0, 212.0]


def test_many_threads_get_their_own_results(head: Hop) -> None:
    others = Others(head)

    def ask(number: int) -> bool:
        if number % 5 == 4:
            with pytest.raises(FunctionFailed, match="it is negative"):
                result_of(others, call_of(-1.0))
            return True
        found = result_of(others, call_of(float(number)))
        return bool(torch.equal(found, torch.full((2, 3), 100.0 * number + 11)))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(60)))
