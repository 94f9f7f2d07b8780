"""Views of memory as results, in real workers of each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests.node.worker_process import worker_process


def released() -> memoryview:
    view = memoryview(b"abc")
    view.release()
    return view


VIEWS: dict[str, tuple[Callable[[], memoryview], bytes | None]] = {
    "with steps": (lambda: memoryview(b"abcdef")[::2], b"ace"),
    "backwards": (lambda: memoryview(b"abc")[::-1], b"cba"),
    "transposed": (lambda: np.arange(6, dtype=np.uint8).reshape(2, 3).T.data, bytes([0, 3, 1, 4, 2, 5])),
    "structured": (lambda: np.array([(1, 2)], dtype="u1,u1").data, b"\1\2"),
    "two dimensions": (lambda: np.zeros((2, 3), np.int16).data, bytes(12)),
    "empty": (lambda: np.zeros((0, 3)).data, b""),
    "released": (released, None),
}


def view(of: str) -> memoryview:
    return VIEWS[of][0]()


def stream_view(of: str) -> Iterator[memoryview]:
    yield VIEWS[of][0]()


async def view_async(of: str) -> memoryview:
    return VIEWS[of][0]()


@pytest.mark.parametrize(
    ("call", "concurrency"), [(view, 1), (view, 2), (view_async, 1), (stream_view, 1), (stream_view, 2)]
)
def test_a_view_is_its_bytes_however_they_lie(call: Callable[[str], object], concurrency: int) -> None:
    with worker_process(call, concurrency=concurrency) as worker:
        for number, (of, (_, wanted)) in enumerate(VIEWS.items()):
            worker.ask((number, call.__name__, {"of": of}))
            answer = worker.answer(number)
            if wanted is None:
                assert answer.code == "function_failed"
                assert "released" in answer.message
            else:
                assert (answer.code, answer.body) == ("", wanted)
