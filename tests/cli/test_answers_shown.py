"""What a function answered and printed is shown as it is: in a pipe nothing is wrapped, drawn or replaced."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import uvloop

from glowplug.cli import calls, environments
from glowplug.cli.invoke import print_answer
from glowplug.cli.output import console
from glowplug.client import Client
from glowplug.core.bodies import JSON, OCTETS
from glowplug.core.calls import CallError, CallId, CallRecord
from glowplug.core.ids import FunctionId
from glowplug.core.status import FunctionStatus, LogLine, PackagesStatus
from glowplug.gateway import calls as gateway_calls
from glowplug.transport.worker_side import Incoming, WorkerEndpoint
from tests.gateway.fakes import ECHO, House, running

TEXT = "a\tb  :smile: [bold]no mark[/] " + "long " * 60 + "\r\n  end "
RAW = bytes(range(256)) * 4


def glowplug(*words: str | bytes, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "glowplug", *words]
    return subprocess.run(command, capture_output=True, check=False, timeout=120, **options)


def at_house(use: Callable[[House], None], **options: Any) -> None:
    """`use` runs in a thread, beside a server whose function answers what it is asked for."""

    async def whole() -> None:
        async with running(**options) as house:
            house.control.lend(house.start_worker(answer), slots=4)
            await asyncio.to_thread(use, house)

    uvloop.run(whole())


def answer(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
    wanted = msgspec.json.decode(incoming.body).get("wanted")
    if wanted == "text":
        endpoint.reply(incoming.request, 200, JSON, msgspec.json.encode(TEXT))
    elif wanted == "bytes":
        endpoint.reply(incoming.request, 200, OCTETS, RAW)
    elif wanted == "pieces":
        endpoint.begin(incoming.request, OCTETS)
        endpoint.chunk(incoming.request, RAW)
        endpoint.chunk(incoming.request, RAW)
        endpoint.end(incoming.request)
    else:
        endpoint.reply(incoming.request, 200, JSON, bytes(incoming.body))


@pytest.mark.parametrize(
    ("wanted", "shown"), [("text", f"{TEXT}\n".encode()), ("bytes", RAW), ("pieces", RAW * 2)]
)
def test_an_answer_is_printed_as_it_is(wanted: str, shown: bytes) -> None:
    def use(house: House) -> None:
        done = glowplug("invoke", "echo", f"wanted={wanted}", "--url", house.url)
        assert (done.returncode, done.stdout) == (0, shown), done.stderr

    at_house(use)


def test_a_line_of_a_log_stays_one_line() -> None:
    text = ":warning: ratio:100: " + "word " * 60 + "end"

    def use(house: House) -> None:
        house.platform.lines = [LogLine(1.0, ECHO, 1, "stdout", text)]
        done = glowplug("logs", "echo", "--url", house.url)
        (line,) = done.stdout.decode().splitlines()
        assert line.endswith(f"#1 {text}")

    at_house(use)


def test_a_row_of_a_table_is_one_line() -> None:
    name = "a-function-whose-name-is-rather-long-but-not-too-long"

    def use(house: House) -> None:
        status = FunctionStatus(name=name, namespace="default", state="failed", error="it :x: " * 30)
        house.platform.statuses = {FunctionId(f"{name}.default"): status}
        env = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
        shown = glowplug("ps", "--url", house.url, env=env).stdout.decode().splitlines()
        (row,) = (line for line in shown if name in line)
        assert "it :x: " * 29 in row

    at_house(use)


def test_a_row_of_a_table_has_the_first_line_of_its_note() -> None:
    def use(house: House) -> None:
        error = "uv could not install it:\n  for this reason\n  and that"
        house.platform.statuses = {ECHO: FunctionStatus(name="echo", namespace="default", error=error)}
        env = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
        shown = glowplug("ps", "--url", house.url, env=env).stdout.decode()
        assert "uv could not install it:" in shown
        assert "reason" not in shown

    at_house(use)


@pytest.mark.parametrize("note", ["a reason of some words " * 4, "[brackets]" * 9])
def test_what_does_not_fit_beside_a_row_stands_below_the_table(note: str) -> None:
    def use(house: House) -> None:
        house.platform.statuses = {
            ECHO: FunctionStatus(name="echo", namespace="default", state="failed", error=note),
            FunctionId("other.default"): FunctionStatus(name="other", namespace="default"),
        }
        shown = glowplug("ps", "--url", house.url, env={**os.environ, "COLUMNS": "80"}).stdout.decode()
        table, _, below = shown.partition("\necho: ")
        assert [line.split()[0] for line in table.splitlines()] == ["FUNCTION", "echo", "other"]
        assert "".join(note.split()) in "".join(below.split())

    at_house(use)


@pytest.mark.parametrize(
    ("words", "given"),
    [(("-d", "-"), b'{"text": "caf\xe9"}'), (("-d", b'{"text": "caf\xe9"}'), b""), ((b"text=caf\xe9",), b"")],
    ids=["standard input", "--data", "argument"],
)
def test_what_is_no_text_is_refused(words: tuple[str | bytes, ...], given: bytes) -> None:
    done = glowplug("invoke", "echo", *words, "--url", "http://127.0.0.1:9", input=given)
    assert done.returncode == 2
    assert b"UTF-8" in done.stderr.replace(b"utf-8", b"UTF-8")
    assert b"Traceback" not in done.stderr


def test_what_is_text_arrives(tmp_path: Path) -> None:
    def use(house: House) -> None:
        env = {**os.environ, "GLOWPLUG_URL": house.url}
        said = '{"text": "café"}'.encode()
        (tmp_path / "said.json").write_bytes(said)
        for words in (("-d", "-"), ("-d", said), ("text=café",), ("-d", f"@{tmp_path}/said.json")):
            done = glowplug("invoke", "echo", *words, "--json", input=said, env=env)
            assert msgspec.json.decode(done.stdout)["answer"] == {"text": "café"}, done.stderr

    at_house(use)


def test_a_file_of_data_that_is_not_there_is_told() -> None:
    done = glowplug("invoke", "echo", "-d", "@nowhere.json", "--url", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert b"--data @nowhere.json: [Errno 2] No such file" in done.stderr


def test_a_call_that_does_not_end_in_time_is_an_error_in_words(tmp_path: Path) -> None:
    async def whole() -> None:
        async with running(calls_in=tmp_path) as house:

            def use() -> subprocess.CompletedProcess[bytes]:
                with Client(house.url) as client:
                    call = client.spawn("echo", {"a": 1}).id
                return glowplug("calls", "get", call, "--timeout", "0.01", "--url", house.url)

            done = await asyncio.to_thread(use)
            assert done.returncode == 1
            assert b"has not ended within 0.01 s" in done.stderr
            assert b"Traceback" not in done.stderr

    uvloop.run(whole())


def test_a_note_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    error = CallError("function_failed", r"ValueError: \[/x] is no [bold]pattern[/] \\")
    record = CallRecord(
        id=CallId("c1"), function=ECHO, endpoint="main", state="failed", created_s=0.0, due_s=0.0,
        deadline_s=0.0, error=error,
    )  # fmt: skip
    calls.console.print(calls._table([record]))
    assert error.message in capsys.readouterr().out
    packages = PackagesStatus(packages="p", state="built", installed=("a[b]", r"c\[/d]"))
    console.print(environments._installed(packages))
    assert r"a[b], c\[/d]" in capsys.readouterr().out


def test_arrays_by_name_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_answer({"a": np.ones((1, 2)), "b": np.int64(3)}, as_json=True)
    print_answer({"a": np.ones((1, 2)), "b": np.int64(3)})
    shown = capsys.readouterr().out
    assert "".join(shown.split()) == '{"a":[[1.0,1.0]],"b":3}' * 2


def test_as_many_calls_are_listed_as_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gateway_calls, "_MOST_LISTED", 2)

    async def whole() -> None:
        async with running(calls_in=tmp_path) as house:

            def use() -> None:
                with Client(house.url) as client:
                    made = [client.spawn("echo", {"a": n}).id for n in range(6)]
                for limit in (0, 1, 5, 6, 7):
                    calls.list_calls(limit=limit, url=house.url, json=True)
                    listed = msgspec.json.decode(capsys.readouterr().out)
                    assert [each["id"] for each in listed] == made[::-1][:limit]

            await asyncio.to_thread(use)

    uvloop.run(whole())
