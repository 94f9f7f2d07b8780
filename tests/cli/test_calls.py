"""Several spawned calls changed by one command."""

from __future__ import annotations

import pytest

from glowplug.cli.calls import _each, retry
from glowplug.core.calls import CallId, CallRecord
from glowplug.core.errors import CallNotRetriable, InvalidArguments, Unavailable, UnknownCall
from glowplug.core.ids import FunctionId


def record(call: str) -> CallRecord:
    return CallRecord(
        id=CallId(call), function=FunctionId("f.default"), endpoint="e", created_s=0.0, due_s=0.0,
        deadline_s=9.0,
    )  # fmt: skip


def change(call: str) -> CallRecord:
    if call.startswith("gone"):
        raise UnknownCall(f"there is no call {call}")
    if call == "done":
        raise CallNotRetriable(f"{call} is no dead letter")
    return record(call)


def test_those_that_can_be_are_changed_and_the_others_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CallNotRetriable, match=r"^done is"):
        _each(["a", "gone1", "b", "gone2", "done"], change, json=False)
    said = capsys.readouterr()
    assert [line.split()[0] for line in said.out.splitlines()[1:]] == ["a", "b"]
    assert said.err.splitlines() == ["there is no call gone1", "there is no call gone2"]


def test_one_that_fails_alone_shows_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnknownCall):
        _each(["gone"], change, json=False)
    assert capsys.readouterr() == ("", "")


def test_a_server_that_is_gone_is_told_once() -> None:
    asked = []

    def fail(call: str) -> CallRecord:
        asked.append(call)
        raise Unavailable("nobody answers")

    with pytest.raises(Unavailable):
        _each(["a", "b"], fail, json=True)
    assert asked == ["a"]


def test_a_function_alone_names_no_calls() -> None:
    with pytest.raises(InvalidArguments, match="--function: goes with --all"):
        retry("a", function="f")
