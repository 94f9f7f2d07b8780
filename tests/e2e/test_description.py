"""Everything that `/openapi.json` describes, asked at random: what does not fit is told, and no 5xx comes
that is not by design."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode

from tests.depth import examples
from tests.e2e.conftest import APPS, Server, serving

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]
BY_DESIGN = {"function_failed", "deadline_passed", "queue_full", "overloaded", "unavailable", "no_space"}
"""Codes that a healthy server may answer with a status from 500 on; `internal` is none of them."""
LEFT_OUT = {("post", "/system/functions/{name}/{direction}")}
"""Answers once the function stands at the step, which is a test of the ladder, and slow."""
FUNCTIONS = ("add", "move", "total", "echo", "count", "join", "table")


@pytest.fixture(scope="module")
def described(make_folder: Callable[[], Path]) -> Iterator[Server]:
    with serving(make_folder()) as found:
        found.deploy(APPS / "shapes.py")
        yield found


def operations(server: Server, wanted: Callable[[str], bool]) -> list[Any]:
    schema = schemathesis.openapi.from_dict(server.http.get("/openapi.json").json())
    found = [result.ok() for result in schema.get_all_operations()]
    return [op for op in found if wanted(op.path) and (op.method.lower(), op.path) not in LEFT_OUT]


def ask(
    server: Server, operation: Any, mode: GenerationMode, there: Mapping[str, Any] | None = None
) -> set[int]:
    """Asks at random, the same each time; returns the statuses that came. Every other time what `there` has
    stands in the path and the query in place of what was drawn."""
    statuses: set[int] = set()
    turns = itertools.count()

    @settings(
        max_examples=examples(12), deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def once(case: Any) -> None:
        if "follow" in (case.query or {}):
            case.query["follow"] = False  # it would go on for ever, as it should
        if there and next(turns) % 2:
            for drawn in (case.path_parameters, case.query):
                drawn.update({name: there[name] for name in drawn or {} if name in there})
        response = case.call(base_url=server.url, timeout=60)
        statuses.add(response.status_code)
        if response.status_code >= 400:
            error = response.json()["error"]
            assert error["message"]
            assert response.status_code < 500 or error["code"] in BY_DESIGN, case.as_curl_command()

    # A path of which anything can be asked has nothing that does not fit.
    with contextlib.suppress(Unsatisfiable):
        once()
    return statuses


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_functions(described: Server, mode: GenerationMode) -> None:
    found = operations(described, lambda path: path.startswith("/function/"))
    assert len(found) == len(FUNCTIONS)
    statuses = {operation.path: ask(described, operation, mode) for operation in found}
    if mode is GenerationMode.POSITIVE:
        assert all(200 in each for each in statuses.values()), statuses
    assert set().union(*statuses.values()) <= {200, 400, 405, 406, 413, 415, 422, 500, 504}
    assert described.client.invoke("add", {"a": 2}) == 3


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_the_admin_interface(described: Server, mode: GenerationMode) -> None:
    found = operations(described, lambda path: not path.startswith("/function/"))
    assert len(found) > 20
    call = described.client.spawn("add", {"a": 2})
    assert call.get(timeout=60) == 3
    described.client.descend("add", "imported")
    described.client.invoke("add", {"a": 2})  # by the controller, which can explain it
    there = {
        "name": "add", "function": "add.default", "call": call.id,
        "request": described.client.traces()[-1].request,
    }  # fmt: skip
    reads = {op.label for op in found if op.method.lower() == "get"}
    asked = {op.label: ask(described, op, mode, there if op.label in reads else None) for op in found}
    if mode is GenerationMode.POSITIVE:
        assert not [label for label, statuses in asked.items() if not statuses]
        assert not [label for label in reads if not asked[label] & {200, 204}]
    else:
        assert sum(map(bool, asked.values())) > 10, asked
    assert described.process.poll() is None
    assert described.http.get("/readyz").status_code == 200
