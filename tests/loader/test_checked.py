"""A local pack is checked once, and again whenever it may be another one."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glowplug import loader
from glowplug.loader import checked, fetching
from glowplug.loader.checked import Check
from glowplug.loader.format import BLOCK_BYTES
from tests.depth import examples
from tests.loader import nets
from tests.loader.test_failing_loads import damage

pytestmark = pytest.mark.torch


@pytest.fixture
def copied(wide: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """(a pack that came here by other means, its weights' offset, input, answer), old enough by now."""
    path, offset, x, expected = wide
    shutil.copy(path, tmp_path / "copied.pack")
    assert checked._wait_beyond((tmp_path / "copied.pack").stat().st_ctime_ns)
    monkeypatch.setattr(checked, "SETTLED_NS", 0)
    return tmp_path / "copied.pack", offset, x, expected


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each block that a load checks from now on."""
    seen: list[int] = []

    def counted(view: Any) -> bytes:
        seen.append(view.nbytes)
        return checksum(view)

    checksum = fetching.checksum
    monkeypatch.setattr(fetching, "checksum", counted)
    return seen


def load(path: Path, x: Any, **more: Any) -> tuple[str, Any]:
    """(whether its weights were checked, the answer), when all of them are there."""
    loading = loader.start_load(path, **more)
    with torch.inference_mode():
        answer = loading.model(x)
    loading.wait()
    return loading.weights_checked, answer


def recorded() -> list[str]:
    folder = checked.records()
    assert folder is not None
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def is_recorded(path: Path) -> bool:
    with opened(path) as fd:
        return Check(fd).passed_before()


@pytest.mark.parametrize("device", ["cpu", "virtual"])
def test_a_flipped_bit_on_the_local_disk_is_found_by_default(copied: Any, device: str) -> None:
    path, offset, _, _ = copied
    with loader.open_pack(path) as pack:
        unit, header = pack.info.units[1], pack._header
    last = next(one for one in header.tensors if header.storages[one.storage].offset + 2048 == unit.end)
    damage(path, offset + unit.end - 1)
    start = offset + unit.offset + BLOCK_BYTES
    loading = loader.start_load(path, device)
    told = rf"copied\.pack: unit 1 \(.*tensors: .*{last.name}\) is damaged between bytes {start} and "
    with pytest.raises(loader.PackCorrupt, match=told):
        loading.wait()
    assert loading.strategy.name == "mapped"
    assert recorded() == [checked._name(state(path.with_name("wide.pack")))], "that of the sound one"
    assert not is_recorded(path)


def state(path: Path) -> tuple[int, ...]:
    with opened(path) as fd:
        return checked._state(fd)


@settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_changed_byte_of_a_mapped_file_is_found_or_without_effect(
    data: st.DataObject, tmp_path: Path
) -> None:
    sound, x = tmp_path / "sound.pack", torch.linspace(-1, 1, 12).view(3, 4)
    if not sound.exists():
        loader.pack(nets.Reversed().eval(), x, sound)
    content = bytearray(sound.read_bytes())
    place = data.draw(st.one_of(st.integers(0, 3000), st.integers(0, len(content) - 1)))
    content[place] ^= data.draw(st.integers(1, 255))
    changed = tmp_path / "changed.pack"
    changed.write_bytes(content)
    try:
        _, found = load(changed, x)
    except loader.PackCorrupt:
        return
    except loader.WeightsUnreadable:
        assert place < 8, "it does not look like a pack any more"
        return
    assert torch.equal(found, load(sound, x)[1])


def test_a_file_is_checked_once(copied: Any, checks: list[int]) -> None:
    path, _, x, expected = copied
    with loader.open_pack(path) as pack:
        nbytes = sum(unit.nbytes for unit in pack.info.units)
    how, answer = load(path, x)
    assert (how, sum(checks)) == ("now", nbytes)
    assert torch.equal(answer, expected)
    checks.clear()
    how, answer = load(path, x)
    assert (how, checks) == ("before", [])
    assert torch.equal(answer, expected)


def test_who_packs_has_checked(wide: Any, checks: list[int]) -> None:
    path, _, x, expected = wide
    how, answer = load(path, x)
    assert (how, checks) == ("before", [])
    assert torch.equal(answer, expected)


def test_what_changed_while_it_was_packed_is_not_called_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glowplug.loader import writer

    def changed(pieces: Any) -> bytes:
        return bytes(len(block_checksums(pieces)))

    block_checksums = writer.block_checksums
    monkeypatch.setattr(writer, "block_checksums", changed)
    with pytest.raises(loader.PackCorrupt, match=r"net\.pack: unit 0 \(layers: .* is damaged"):
        loader.pack(nets.Reversed().eval(), torch.ones(3, 4), tmp_path / "net.pack")
    assert recorded() == []


def test_it_is_checked_each_time_or_never_for_who_says_so(copied: Any, checks: list[int]) -> None:
    path, _, x, _ = copied
    assert load(path, x, verify=False)[0] == "no"
    assert not checks
    assert not is_recorded(path)
    assert load(path, x, verify=True)[0] == "now"
    assert is_recorded(path)
    checks.clear()
    assert load(path, x, verify=True)[0] == "now"
    assert checks
    checks.clear()
    assert load(path, x, strategy="streamed")[0] == "now", "what is streamed is checked as it arrives"
    assert checks


@pytest.mark.parametrize(("verify", "said"), [(None, "no"), (True, "now")])
def test_torch_files_are_loaded_on_trust_unless_they_are_to_be_checked(
    verify: bool | None, said: str, tmp_path: Path
) -> None:
    torch.save(nets.Reversed().eval().state_dict(), tmp_path / "net.pt")
    loading = loader.start_load(tmp_path / "net.pt", build=nets.Reversed, verify=verify)
    loading.wait()
    assert loading.weights_checked == said
    assert recorded() == []


def test_what_was_written_to_is_checked_again(copied: Any) -> None:
    path, offset, x, _ = copied
    load(path, x)
    times = path.stat()
    damage(path, offset + 5)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(loader.PackCorrupt, match=r"copied\.pack: unit 0 \(.*tensors: layers\."):
        load(path, x)
    damage(path, offset + 5)  # back again
    assert load(path, x)[0] == "now"


def test_another_file_under_the_name_is_checked(copied: Any) -> None:
    path, offset, x, _ = copied
    load(path, x)
    other = path.with_name("other.pack")
    shutil.copy2(path, other)
    damage(other, offset + 5)
    shutil.copystat(path, other)
    other.replace(path)
    with pytest.raises(loader.PackCorrupt, match=r"copied\.pack: unit 0 "):
        load(path, x)


def test_a_file_that_was_written_a_moment_ago_is_not_recorded(
    copied: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, x, _ = copied
    monkeypatch.setattr(checked, "SETTLED_NS", 3600 * 10**9)
    assert [load(path, x)[0] for _ in range(2)] == ["now", "now"]
    assert not is_recorded(path)


def test_a_time_to_come_is_not_trusted(copied: Any) -> None:
    path, _, x, _ = copied
    to_come = path.stat().st_mtime_ns + 3600 * 10**9
    os.utime(path, ns=(to_come, to_come))
    assert [load(path, x)[0] for _ in range(2)] == ["now", "now"]
    passed(path)
    assert not is_recorded(path), "nor for who has just written it"


def test_times_of_a_coarse_clock_are_waited_for_by_nobody(tmp_path: Path) -> None:
    assert not checked._wait_beyond(1_700_000_000 * 10**9), "a later write may have the same second"
    assert checked._wait_beyond(1_700_000_000 * 10**9 + 1)
    assert not checked._wait_beyond(2**62 + 1), "a clock that was set back"


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


def test_a_machine_that_does_not_tell_of_its_starts_records_nothing(
    copied: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, x, _ = copied
    monkeypatch.setattr(checked, "_BOOT", tmp_path / "none")
    checked._boot.cache_clear()
    try:
        assert [load(path, x)[0] for _ in range(2)] == ["now", "now"]
    finally:
        checked._boot.cache_clear()


def test_after_a_restart_it_is_checked_again(
    copied: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, x, _ = copied
    load(path, x)
    (tmp_path / "boot").write_text("another\n")
    monkeypatch.setattr(checked, "_BOOT", tmp_path / "boot")
    checked._boot.cache_clear()
    try:
        assert [load(path, x)[0] for _ in range(2)] == ["now", "before"]
    finally:
        checked._boot.cache_clear()


def passed(path: Path) -> None:
    with opened(path) as fd:
        Check(fd, is_new=True).passed()


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
