"""Requests and what was built of them, on the disk: found again, never half, removed in order."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from glowplug.bundle import environments
from glowplug.bundle.environments import RUNTIME, BuiltPackages, EnvironmentStore, interpreter, unneeded
from glowplug.bundle.manifest import environment_id
from glowplug.core.errors import InvalidUpload
from glowplug.core.ids import PackagesId
from glowplug.core.specs import Requirements
from tests.wheels import make_wheel


@pytest.fixture
def store(tmp_path: Path) -> EnvironmentStore:
    found = EnvironmentStore(tmp_path / "state")
    found.prepare()
    return found


def keep(store: EnvironmentStore, *lines: str, code: Path = Path("/nonexistent")) -> PackagesId:
    return store.keep_request(Requirements(lines), code)


def build(store: EnvironmentStore, name: PackagesId, used_at_s: float = 1.0) -> BuiltPackages:
    attempt = store.new_attempt(name)
    (attempt / "bin").mkdir()
    (attempt / "bin" / "python").touch()
    built = BuiltPackages(attempt.name, interpreter(), "pip", ("x==1",), 1000, 1.0)
    store.publish(name, built)
    os.utime(store.built / name / "built.json", (used_at_s, used_at_s))
    return built


def test_the_same_request_has_the_same_name(store: EnvironmentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first = keep(store, "x==1")
    assert keep(store, "x==1") == first
    assert keep(store, "x==2") != first
    assert store.keep_request(Requirements(("x==1",), build_from_source=True), Path()) != first
    monkeypatch.setattr(environments, "interpreter", lambda: "another Python")
    assert keep(store, "x==1") != first


def test_what_was_downloaded_goes_at_once_and_whoever_installs_now_keeps_theirs(
    store: EnvironmentStore,
) -> None:
    assert store.take_cache_away() is None
    store.cache.mkdir()
    (store.cache / "old").touch()
    hidden = store.take_cache_away()
    assert hidden is not None
    store.cache.mkdir()
    (store.cache / "new").touch()
    assert (hidden / "old").exists()
    store.prepare()  # as after a kill before it was removed
    assert not hidden.exists()
    assert (store.cache / "new").exists()


def test_a_request_brings_its_wheels(store: EnvironmentStore, tmp_path: Path) -> None:
    code = tmp_path / "code"
    make_wheel(code / "w", "x", "1")
    name = keep(store, "./w/x-1-py3-none-any.whl", "y", code=code)
    request = store.request(name)
    assert request is not None
    assert request.requirements.lines == ("./wheels/x-1-py3-none-any.whl", "y")
    home = tmp_path / "home"
    home.mkdir()
    store.lay_out(name, request, home)
    assert (home / "wheels" / "x-1-py3-none-any.whl").is_file()
    assert (home / "requirements.txt").read_text() == "./wheels/x-1-py3-none-any.whl\ny\n"
    assert (home / "constraints.txt").read_text().split() == list(RUNTIME)
    make_wheel(code / "w", "x", "1", "changed = True")
    assert keep(store, "./w/x-1-py3-none-any.whl", "y", code=code) != name


@pytest.mark.parametrize("line", ["./none-1-py3-none-any.whl", "../out-1-py3-none-any.whl", "/etc/hosts"])
def test_an_upload_without_its_wheel_is_refused(store: EnvironmentStore, tmp_path: Path, line: str) -> None:
    (tmp_path / "out-1-py3-none-any.whl").touch()
    (tmp_path / "code").mkdir()
    with pytest.raises(InvalidUpload, match="no wheel"):
        keep(store, line, code=tmp_path / "code")
    assert list(store.requests.iterdir()) == []


def test_only_a_whole_one_counts(store: EnvironmentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    name = keep(store, "x")
    assert store.whole(name) is None
    cut_short = store.new_attempt(name)
    assert store.whole(name) is None
    built = build(store, name)
    assert store.whole(name) == built
    assert not cut_short.exists()
    monkeypatch.setattr(environments, "interpreter", lambda: "another Python")
    assert store.whole(name) is None
    monkeypatch.undo()
    store.python(name, built).unlink()
    assert store.whole(name) is None


def test_a_start_removes_what_was_half_done(store: EnvironmentStore) -> None:
    name = keep(store, "x")
    build(store, name)
    (store.requests / ".new-1").mkdir()
    hidden = store.take_away(name)
    assert hidden is not None
    assert store.names() == []
    store.prepare()
    assert not hidden.exists()
    assert [path.name for path in store.requests.iterdir()] == [name]
    assert store.take_away(name) is None


def test_requests_of_nobody_are_forgotten(store: EnvironmentStore) -> None:
    kept, lost = keep(store, "x"), keep(store, "y")
    store.forget_requests({kept})
    assert store.request(kept) is not None
    assert store.request(lost) is None


def test_what_was_used_last_comes_last(store: EnvironmentStore) -> None:
    names = [keep(store, line) for line in "abc"]
    for name, used_at_s in zip(names, (30.0, 10.0, 20.0), strict=True):
        build(store, name, used_at_s)
    assert store.names() == [names[1], names[2], names[0]]
    store.used(names[1])
    assert store.names()[-1] == names[1]


def test_what_is_needed_stays() -> None:
    sizes = [(PackagesId(name), 10) for name in "abcd"]
    assert unneeded(sizes, {PackagesId("a")}, 40) == []
    assert unneeded(sizes, {PackagesId("a")}, 25) == ["b", "c"]
    assert unneeded(sizes, {PackagesId(name) for name in "abcd"}, 0) == []


def test_what_glowplug_needs_is_what_it_declares() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(RUNTIME) <= set(project["dependencies"])


def test_a_request_can_be_read_by_nobody_else(store: EnvironmentStore) -> None:
    assert store.requests.stat().st_mode & 0o077 == 0
    assert msgspec.json.decode((store.requests / keep(store, "x") / "request.json").read_bytes())


def test_without_packages_an_environment_is_the_same_as_ever() -> None:
    assert environment_id(("x",)) == environment_id(("x",), PackagesId(""))
    assert environment_id(("x",)) != environment_id(("x",), PackagesId("a"))
    assert environment_id(("x",), PackagesId("a")) != environment_id(("y",), PackagesId("a"))
