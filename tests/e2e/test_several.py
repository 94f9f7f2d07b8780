"""Batches, streams and coroutines through the whole server."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any

import pytest

from glowplug.core.errors import FunctionFailed, InvalidArguments
from tests.e2e.conftest import APPS, Server

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


@pytest.fixture(scope="module")
def several(server: Server) -> Server:
    server.deploy(APPS / "several.py")
    return server


@pytest.fixture
def app(several: Server, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The source as its author imports it, with handles that ask this server."""
    monkeypatch.setenv("GLOWPLUG_URL", several.url)
    spec = importlib.util.spec_from_file_location("several", APPS / "several.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "several", module)
    spec.loader.exec_module(module)
    return module


def test_a_stream_comes_as_it_is_yielded(several: Server, app: Any) -> None:
    assert list(app.count.remote(3)) == list(app.count.local(3)) == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert list(app.count_slowly.remote(2)) == list(app.count_slowly.local(2)) == [0, 1]
    items = app.count.remote(2, fail=True)
    assert [next(items), next(items)] == [{"n": 0}, {"n": 1}]
    with pytest.raises(FunctionFailed, match="LookupError: no more"):
        next(items)
    with pytest.raises(InvalidArguments, match="'to'"):
        list(several.client.stream("count", {"to": "x"}))
    events = several.http.post("/function/count", json={"to": 2}, headers={"accept": "text/event-stream"})
    assert events.headers["content-type"] == "text/event-stream"
    assert events.text == 'data: {"n":0}\n\ndata: {"n":1}\n\n'


def test_a_client_that_leaves_a_stream_frees_the_worker(several: Server) -> None:
    workers = set()
    for _ in range(3):
        with several.client.stream("flood") as stream:
            received = b""
            for data in stream:
                received += data
                if len(received) > 10**6:
                    break
        workers.add(int(received[:10]))
    assert len(workers) == 1, "its generator was stopped, and nobody was killed"


def test_the_command_prints_items_as_they_come(several: Server) -> None:
    command = [sys.executable, "-m", "glowplug", "invoke", "count", "to=2", "--url", several.url]
    shown = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (shown.returncode, shown.stdout.split("\n")) == (0, ['{"n": 0}', '{"n": 1}', ""])
    told = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False, timeout=60)
    assert json.loads(told.stdout)["answer"] == [{"n": 0}, {"n": 1}]
    broken = subprocess.run([*command, "fail=true"], capture_output=True, text=True, check=False, timeout=60)
    assert (broken.returncode, "LookupError: no more" in broken.stderr) == (1, True)
    assert broken.stdout == shown.stdout


def test_a_coroutine_and_a_batch_answer_as_any_other(several: Server, app: Any) -> None:
    assert app.later.remote("a") == app.later.local("a") == "A"
    assert app.Doubler.double.remote(4.0) == app.Doubler.double.local(4.0) == 8.0
    numbers = [float(n) for n in range(40)]
    assert list(app.Doubler.double.map(numbers, concurrency=8)) == [2 * n for n in numbers]
    for call in (app.Doubler.double.remote, app.Doubler.double.local):
        with pytest.raises(InvalidArguments, match="too large"):
            call(1e7)
    mixed = list(app.Doubler.double.map([1.0, 1e7, 2.0], return_exceptions=True))
    assert [mixed[0], type(mixed[1]), mixed[2]] == [2.0, InvalidArguments, 4.0]
