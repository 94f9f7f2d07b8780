"""Batched endpoints, in real workers of both kinds."""

from __future__ import annotations

import asyncio
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glowplug.core.bodies import NPY
from glowplug.core.errors import InvalidArguments, RequestCancelled
from glowplug.core.specs import LONGEST_BATCH_WAIT_S
from glowplug.loader.clock import RealClock
from glowplug.loader.devices.cpu import CpuDevice
from glowplug.loader.devices.virtual import Profile, VirtualDevice
from glowplug.node.arguments import Signature
from glowplug.node.gathering import Gathering
from tests.node.worker_process import until_running, worker_process


def batch_sizes(text: list[str]) -> list[list[Any]]:
    return [[t, len(text)] for t in text]


async def batch_async(text: list[str]) -> list[list[Any]]:
    await asyncio.sleep(0)
    return [[t, len(text)] for t in text]


def batch_picky(number: list[int], scale: list[float]) -> list[Any]:
    """Answers, or an error, or in place of an answer an error."""
    if 13 in number:
        raise ValueError("thirteen")
    if 99 in number:
        return [1]
    return [
        InvalidArguments("zero", "number") if n == 0 else n * s for n, s in zip(number, scale, strict=True)
    ]


def batch_arrays(x: list[int]) -> Any:
    return np.array(x) * 2


def batch_wait(path: list[str]) -> list[str]:
    try:
        with open(path[0], "a") as file:
            file.write("running\n")
        while not Path(path[0] + ".go").read_text():
            time.sleep(0.001)
    except RequestCancelled:
        with open(path[0], "a") as file:
            file.write("cancelled\n")
        raise
    return path


def plain(text: str) -> str:
    return text


EIGHT = {"max_batch": 8, "max_wait_ms": 1.0}
BOTH = pytest.mark.parametrize("concurrency", [1, 2])


@BOTH
@pytest.mark.parametrize("call", [batch_sizes, batch_async])
def test_what_lies_in_the_socket_is_one_batch(call: Any, concurrency: int) -> None:
    name = call.__name__
    with worker_process(call, plain, concurrency=concurrency, **EIGHT) as worker:
        worker.ask(*[(n, name, {"text": str(n)}) for n in range(20)], (20, "plain", {"text": "b"}))
        found = [worker.answer(n).value() for n in range(20)]
        assert [text for text, _ in found] == [str(n) for n in range(20)]
        assert [size for _, size in found] == [8] * 16 + [4] * 4
        assert worker.answer(20).value() == "b"


@BOTH
def test_one_that_is_wrong_fails_alone(concurrency: int) -> None:
    with worker_process(batch_picky, concurrency=concurrency, **EIGHT) as worker:
        good = {"number": 2, "scale": 0.5}
        requests: list[Any] = [
            good,
            {"number": "x", "scale": 1},
            {"number": 0, "scale": 1},
            {"number": 1},
            good,
        ]
        worker.ask(*[(n, "batch_picky", each) for n, each in enumerate(requests)])
        answers = [worker.answer(n) for n in range(5)]
        assert [(a.code, a.field) for a in answers] == [
            ("", None), ("invalid_arguments", "number"), ("invalid_arguments", "number"),
            ("invalid_arguments", "scale"), ("", None),
        ]  # fmt: skip
        assert [answers[0].value(), answers[4].value(), answers[2].message] == [1.0, 1.0, "zero"]


@BOTH
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (13, "ValueError: thirteen"),
        (99, "endpoint batch_picky returned 1 results for 2 requests: return one for each"),
    ],
)
def test_an_error_of_the_call_fails_all_of_it(bad: int, message: str, concurrency: int) -> None:
    with worker_process(batch_picky, concurrency=concurrency, **EIGHT) as worker:
        worker.ask(*[(n, "batch_picky", {"number": n, "scale": 1}) for n in (bad, 1)])
        for number in (bad, 1):
            answer = worker.answer(number)
            assert (answer.code, answer.message) == ("function_failed", message)
        worker.ask((3, "batch_picky", {"number": 3, "scale": 1}))
        assert worker.answer(3).value() == 3.0


def test_an_array_is_a_row_for_each() -> None:
    with worker_process(batch_arrays, **EIGHT) as worker:
        worker.ask(*[(n, "batch_arrays", {"x": n}) for n in range(3)])
        assert [worker.answer(n).value() for n in range(3)] == [0, 2, 4]


@BOTH
def test_cancelling_a_member_stops_the_batch_only_when_it_is_the_last(
    tmp_path: Any, concurrency: int
) -> None:
    path = tmp_path / "door"
    (tmp_path / "door.go").write_text("")
    with worker_process(batch_wait, concurrency=concurrency, **EIGHT) as worker:
        ask = {"path": str(path)}
        worker.ask((1, "batch_wait", ask), (2, "batch_wait", ask), (3, "batch_wait", ask))
        until_running(path)
        worker.cancel(1)
        assert worker.let_go() == 1, "nobody is killed for it"
        assert path.read_text() == "running\n", "the others go on"
        (tmp_path / "door.go").write_text("go")
        assert worker.answer(1).code == "cancelled"
        assert worker.answer(2).value() == worker.answer(3).value() == str(path)
        (tmp_path / "door.go").write_text("")
        path.write_text("")
        worker.ask((4, "batch_wait", ask), (5, "batch_wait", ask))
        until_running(path)
        worker.cancel(4)
        worker.cancel(5)
        assert [worker.let_go(), worker.let_go()] == [4, 5]
        assert worker.answer(4).code == worker.answer(5).code == "cancelled"
        assert path.read_text() == "running\ncancelled\n"


@BOTH
def test_what_is_cancelled_while_its_arguments_are_read_does_not_run(
    tmp_path: Path, concurrency: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, path = Signature.decode, tmp_path / "door"

    def decode_slowly(self: Signature, content_type: str, body: memoryview | bytes) -> dict[str, Any]:
        (tmp_path / "decoding").write_text("yes")
        while not (tmp_path / "decoded").exists():
            time.sleep(0.001)
        return decode(self, content_type, body)

    monkeypatch.setattr(Signature, "decode", decode_slowly)
    with worker_process(batch_wait, plain, concurrency=concurrency, **EIGHT) as worker:
        ask = {"path": str(path)}
        worker.ask((1, "batch_wait", ask), (2, "batch_wait", ask))
        until_running(tmp_path / "decoding")
        for request in (1, 2):
            worker.cancel(request)
            assert worker.let_go() == request
        (tmp_path / "decoded").write_text("yes")
        assert worker.answer(1).code == worker.answer(2).code == "cancelled"
        assert not path.exists(), "it never ran"
        (tmp_path / "decoded").unlink()
        (tmp_path / "decoding").unlink()
        (tmp_path / "door.go").write_text("")
        worker.ask((3, "batch_wait", ask), (4, "batch_wait", ask))
        until_running(tmp_path / "decoding")
        worker.cancel(3)
        assert worker.let_go() == 3
        (tmp_path / "decoded").write_text("yes")
        until_running(path)
        worker.cancel(4)
        assert worker.let_go() == 4
        assert worker.answer(3).code == worker.answer(4).code == "cancelled"
        assert path.read_text() == "running\ncancelled\n", "nobody was left who wanted it"


def test_a_batch_waits_for_as_many_as_came_together_of_late() -> None:
    gathering = Gathering(8, 0.002)
    assert gathering.wanted == 1, "nobody is known to come"
    gathering.saw(3)
    assert gathering.wanted == 3
    gathering.saw(20)
    assert gathering.wanted == 8
    waited = []
    while gathering.wanted > 1:
        waited.append(gathering.wanted)
        gathering.saw(1)
    assert waited == [8, 8, 5, 3, 2], "who has left is waited for a few times"
    for _ in range(5):
        gathering.saw(1)
        assert gathering.wanted == 1, "a lone client never waits"
    assert Gathering(8, 0.0).wanted == 1


def test_on_a_device_a_batch_is_what_was_sent_as_one() -> None:
    slow = {"max_batch": 8, "max_wait_ms": 1000 * LONGEST_BATCH_WAIT_S}
    with worker_process(batch_sizes, device=CpuDevice(0), **slow) as worker:
        # The first members of a batch are read long before the last one is sent.
        worker.ask((0, "batch_sizes", {"text": "0"}), (1, "batch_sizes", {"text": "1"}), together=3)
        worker.ask((2, "batch_sizes", {"text": "2"}), together=3)
        # Two that lie there together and are not said to be one batch are two.
        worker.ask((3, "batch_sizes", {"text": "3"}), (4, "batch_sizes", {"text": "4"}), together=1)
        found = [worker.answer(n).value() for n in range(5)]
        assert [size for _, size in found] == [3, 3, 3, 1, 1]


def test_who_never_comes_is_not_waited_for() -> None:
    with worker_process(batch_sizes, device=CpuDevice(0), **EIGHT) as worker:
        worker.ask((0, "batch_sizes", {"text": "0"}), together=2)
        assert worker.answer(0).value() == ["0", 1]


def test_a_virtual_device_takes_its_time_for_each_run() -> None:
    profile = Profile(capacity_bytes=1, copy_bytes_per_s=1.0, run_s=0.03)
    with worker_process(batch_sizes, plain, device=VirtualDevice(profile, RealClock()), **EIGHT) as worker:
        worker.ask((0, "batch_sizes", {"text": "0"}), (1, "batch_sizes", {"text": "1"}), together=2)
        worker.ask((2, "plain", {"text": "b"}), together=1)
        took_s = [worker.answer(n).phases["compute"] for n in (0, 1, 2)]
        assert all(seconds >= 0.03 for seconds in took_s)


def batch_sums(x: list[np.ndarray]) -> list[float]:
    return [float(each.sum()) for each in x]


async def batch_sums_async(x: list[np.ndarray]) -> list[float]:
    return [float(each.sum()) for each in x]


@BOTH
@pytest.mark.parametrize("call", [batch_sums, batch_sums_async])
def test_what_a_big_argument_lies_in_is_given_back_with_the_answer(call: Any, concurrency: int) -> None:
    stream = io.BytesIO()
    np.save(stream, np.ones(150_000, np.float32))
    with worker_process(call, concurrency=concurrency, **EIGHT) as worker:
        for number in range(1, 4):
            worker.ask_in_region(number, call.__name__, stream.getvalue(), content_type=NPY)
            answer = worker.answer(number)
            assert (answer.value(), answer.region_free) == (150_000.0, True)
