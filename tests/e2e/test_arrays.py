"""Big arrays over kept connections, which lie in memory that gateway and worker share."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from tests.e2e.conftest import APPS, Server

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]
SHAPE = (3, 224, 224)


@pytest.fixture(scope="module")
def arrays(server: Server) -> Server:
    server.deploy(APPS / "arrays.py")
    return server


def filled(number: float) -> np.ndarray:
    return np.full(SHAPE, number, np.float32)


def ask(client: httpx.Client, function: str, array: np.ndarray) -> httpx.Response:
    stream = io.BytesIO()
    np.save(stream, array)
    kind = "application/x-npy"
    headers = {"content-type": kind, "accept": kind if function == "negate" else "application/json"}
    answer = client.post(f"/function/{function}", content=stream.getvalue(), headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def test_each_is_answered_with_its_own(arrays: Server, pool: ThreadPoolExecutor) -> None:
    def several(first: int) -> None:
        with httpx.Client(base_url=arrays.url, timeout=60) as client:
            for number in range(first, first + 10):
                assert ask(client, "total", filled(number)).json() == number * filled(1).size
                negated = np.load(io.BytesIO(ask(client, "negate", filled(number)).content))
                assert np.array_equal(negated, filled(-number))

    for done in [pool.submit(several, 100 * number) for number in range(4)]:
        done.result()


def test_what_a_function_keeps_stays_what_it_was(arrays: Server) -> None:
    with httpx.Client(base_url=arrays.url, timeout=60) as client:
        for number in range(1, 21):
            found = ask(client, "keep", filled(number)).json()
            assert found[-1] == number
            assert found == sorted(set(found))
