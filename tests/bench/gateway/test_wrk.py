from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from glowplug.bench.answers import difference
from glowplug.bench.gateway import wrk
from glowplug.bench.gateway.asks import MESSAGE, Ask, plain, right_answer
from glowplug.bench.gateway.cells import Refused, answer, check, first_answer, load, measure
from glowplug.bench.peers.serving import CONTENDERS, Served, running

SAID = {
    "requests": 1000, "duration_us": 2_000_000, "bytes": 5, "connect": 0, "read": 1, "write": 0,
    "status": 200, "timeout": 3, "p50_us": 700, "p90_us": 800, "p99_us": 1600, "max_us": 9000,
}  # fmt: skip
NOISE = "Running 2s test @ http://127.0.0.1:1/\n  Latency Distribution\n     99%    1.60ms\n"
needs_wrk = pytest.mark.skipif(wrk.installed() is None, reason="wrk is not installed: make wrk")


def printed(**changed: Any) -> str:
    return f"{NOISE}\nglowplug-wrk {json.dumps(SAID | changed)}\n"


def test_good_answers_are_counted_and_failures_named() -> None:
    found = wrk.parse(printed())
    assert found.rate == (1000 - 200) / 2.0
    assert found.failed == 204
    assert found.why_failed == {"read": 1, "status": 200, "timeout": 3}
    assert (found.p50_s, found.p90_s, found.p99_s, found.max_s) == (0.0007, 0.0008, 0.0016, 0.009)


def test_no_answer_at_all_is_a_rate_of_nothing() -> None:
    assert wrk.parse(printed(requests=0, status=0)).rate == 0.0


@pytest.mark.parametrize(
    "output",
    ["", NOISE, "glowplug-wrk {", "glowplug-wrk {}", printed(duration_us=0), "glowplug-wrk []"],
    ids=["nothing", "no summary", "cut", "empty", "no time", "a list"],
)
def test_what_cannot_be_read_is_an_error_that_shows_it(output: str) -> None:
    with pytest.raises(RuntimeError, match="wrk"):
        wrk.parse(output)


def test_any_header_and_path_come_through_lua(tmp_path: Path) -> None:
    lua = shutil.which("lua") or shutil.which("luajit")
    script = wrk.lua({'X-"Odd"\\': 'a\nb"]]ü'}, tmp_path / 'a "body"')
    assert 'X-"' not in script
    assert "\\034" in script
    if lua is not None:
        (tmp_path / 'a "body"').write_bytes(b"\0\xff")
        program = f"wrk = {{headers = {{}}}}\n{script}\nfor k, v in pairs(wrk.headers) do io.write(k, v) end"
        done = subprocess.run([lua, "-e", program], capture_output=True, check=True, timeout=10)
        assert done.stdout.decode() == 'X-"Odd"\\a\nb"]]ü'


@pytest.fixture(scope="module")
def floor() -> Iterator[Served]:
    with running(CONTENDERS["floor-worker"], "echo", threads=1) as server:
        first_answer(server, plain("echo"))
        yield server


@needs_wrk
def test_a_server_is_loaded_and_every_answer_counted(floor: Served) -> None:
    found = load(floor.url, plain("echo"), connections=4, duration_s=1)
    assert found.requests > 0
    assert found.rate > 0
    assert found.failed == 0
    assert 0 < found.p50_s <= found.p99_s <= found.max_s


@needs_wrk
def test_answers_that_are_errors_are_no_good_ones(floor: Served) -> None:
    broken = Ask("/", {"Content-Type": "application/json"}, b"{", json.loads, "JSON")
    with running(CONTENDERS["floor-asgi"], "echo", threads=1) as server:
        first_answer(server, plain("echo"))
        found = load(server.url, broken, connections=1, duration_s=1)
    assert found.failed > 0
    assert found.rate == 0.0


@needs_wrk
def test_a_cell_is_a_server_from_its_start_to_its_end() -> None:
    start = running(CONTENDERS["floor-starlette"], "tensor", threads=1)
    found = measure(
        start, plain("tensor"), right_answer("tensor"), connections=2, warm_s=1, duration_s=1
    )  # fmt: skip
    assert found.difference <= 1e-5
    assert found.load.requests > 0
    assert found.ready_s > 0


def test_a_wrong_answer_is_not_timed() -> None:
    start = running(CONTENDERS["floor-asgi"], "echo", threads=1)
    with pytest.raises(RuntimeError, match="a wrong answer to /"):
        measure(start, plain("echo"), MESSAGE | {"number": 8}, connections=1, warm_s=1, duration_s=1)


def test_an_answer_that_cannot_be_read_is_refused(floor: Served) -> None:
    strange = replace(plain("echo"), read=lambda body: json.loads(body)["outputs"])
    with pytest.raises(Refused, match="cannot be read"):
        answer(floor.url, strange)


def test_nearly_right_is_right_and_a_number_that_is_none_is_wrong() -> None:
    check({"sum": 1.000001}, plain("echo"), {"sum": 1.0})
    with pytest.raises(RuntimeError, match="a wrong answer"):
        check({"sum": float("nan")}, plain("echo"), {"sum": 1.0})
    assert difference(MESSAGE, json.loads(plain("echo").body)) == 0.0
