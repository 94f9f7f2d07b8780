"""What is remembered of files that were checked: where, how many, by whom, and for how long."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glowplug.loader import checked
from glowplug.loader.checked import Check
from tests.depth import examples
from tests.loader.records import is_recorded, load, opened, passed, recorded, state

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("what", ["a file", "inside a file", "of others", "a home that is gone", "no home"])
def test_where_nothing_can_be_recorded_it_is_checked_each_time(
    what: str, copied: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, x, expected = copied
    home = tmp_path / "home"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    if what == "a file":
        (home / "glowplug").mkdir(parents=True)
        (home / "glowplug" / "checked").touch()
    elif what == "inside a file":
        home.touch()
    elif what == "of others":
        (home / "glowplug" / "checked").mkdir(parents=True)
        (home / "glowplug" / "checked").chmod(0o777)
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(home) if what == "a home that is gone" else "nowhere")
        assert checked.records() is None
    for _ in range(2):
        how, answer = load(path, x)
        assert how == "now"
        assert torch.equal(answer, expected)
    assert home.exists() == (what not in ("a home that is gone", "no home"))


def test_a_folder_of_another_user_is_left_alone(copied: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _, x, _ = copied
    monkeypatch.setattr(checked.os, "geteuid", lambda: os.getuid() + 1)
    before = recorded()
    assert [load(path, x)[0] for _ in range(2)] == ["now", "now"]
    assert recorded() == before


def test_they_are_where_caches_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert checked.records() == tmp_path / ".cache" / "glowplug" / "checked"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert checked.records() == Path("/elsewhere/glowplug/checked")


@pytest.fixture
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the machine tells of its starts; it is not there."""
    monkeypatch.setattr(checked, "_BOOT", tmp_path / "boot")
    checked._boot.cache_clear()
    yield tmp_path / "boot"
    checked._boot.cache_clear()


def test_a_machine_that_does_not_tell_of_its_starts_records_nothing(copied: Any, boot: Path) -> None:
    path, _, x, _ = copied
    assert not boot.exists()
    assert [load(path, x)[0] for _ in range(2)] == ["now", "now"]


def test_after_a_restart_it_is_checked_again(copied: Any, boot: Path) -> None:
    path, _, x, _ = copied
    for start in ("one\n", "another\n"):
        boot.write_text(start)
        checked._boot.cache_clear()
        assert [load(path, x)[0] for _ in range(2)] == ["now", "before"]


def test_those_that_nobody_asked_for_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked, "MOST_RECORDS", 3)
    paths = [tmp_path / str(number) for number in range(5)]
    for number, path in enumerate(paths):
        path.write_bytes(b"x")
        passed(path)
        folder, name = checked.records(), checked._name(state(path))
        assert folder is not None
        assert name is not None
        if (folder / name).exists():
            os.utime(folder / name, (number, number))
        if number == 2:
            assert is_recorded(paths[0]), "and is asked for"
    assert [is_recorded(path) for path in paths] == [True, False, False, True, True]
    assert len(recorded()) == 3


_PROCESS = """
import os, sys
from glowplug.loader import checked
checked.MOST_RECORDS = 8
paths = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
for path in paths * 3:
    fd = os.open(path, os.O_RDONLY)
    check = checked.Check(fd, is_new=True)
    check.passed_before()
    check.passed()
    os.close(fd)
"""


def test_two_processes_record_at_the_same_time(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(20)]
    for path in paths:
        path.write_bytes(b"x")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, *map(str, paths)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert 0 < len(recorded()) <= 8


_STEP = st.sampled_from(["begin", "end", "write", "rewind", "mode", "replace"])


@settings(
    max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(_STEP, max_size=12))
def test_what_is_recorded_was_checked_as_it_is(steps: list[str], tmp_path: Path) -> None:
    """Whatever happens between: a record is believed if, and only if, nothing has been done to the file since
    a check began that passed."""
    path, version = tmp_path / "file", 0
    path.write_bytes(b"0")
    known: set[int] = set()
    with contextlib.ExitStack() as stack:
        checking: list[tuple[Check, int]] = []
        for step in steps:
            if step == "begin":
                checking.append((Check(stack.enter_context(opened(path)), is_new=True), version))
                continue
            if step == "end":
                if checking:
                    check, began = checking.pop(0)
                    check.passed()
                    known |= {began} & {version}
                    assert (checked._name(check._state) in recorded()) == (began in known)
                assert is_recorded(path) == (version in known)
                continue
            version += 1
            if step == "write":
                path.write_bytes(b"1")
            elif step == "rewind":
                times = path.stat()
                path.write_bytes(b"2")
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            elif step == "mode":
                path.chmod(0o600 if version % 2 else 0o644)
            else:
                path.with_name("other").write_bytes(b"3")
                path.with_name("other").replace(path)
        assert is_recorded(path) == (version in known)
