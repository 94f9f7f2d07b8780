"""A local pack is checked once, and again whenever it may be another one."""

# ruff: noqa: E402 (whether torch is there decides before anything imports it)

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glowplug import loader
from glowplug.loader import checked, fetching
from glowplug.loader.format import BLOCK_BYTES
from tests.depth import examples
from tests.loader import nets
from tests.loader.records import is_recorded, load, passed, recorded, state
from tests.loader.test_failing_loads import damage

pytestmark = pytest.mark.torch


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

    path = tmp_path / "net.pack"
    loader.pack(nets.Reversed().eval(), torch.ones(3, 4), path)
    sound, before = path.read_bytes(), recorded()
    block_checksums = writer.block_checksums
    monkeypatch.setattr(writer, "block_checksums", changed)
    with pytest.raises(
        loader.PackCorrupt, match=r"net\.pack: unit 0 \(layers: .* is damaged.*nothing was written"
    ):
        loader.pack(nets.Reversed().eval(), torch.ones(3, 4), path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == sound
    assert recorded() == before
    assert load(path, torch.ones(3, 4))[0] == "before"


@pytest.mark.parametrize("when", ["before", "behind"])
def test_what_is_written_to_while_it_gets_its_name_is_not_recorded(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replaced(self: Path, target: Path) -> Path:
        if when == "before":
            damage(self, self.stat().st_size - 100)
        replace(self, target)
        if when == "behind":
            damage(target, target.stat().st_size - 100)
        return target

    replace = Path.replace
    monkeypatch.setattr(Path, "replace", replaced)
    loader.pack(nets.Reversed().eval(), torch.ones(3, 4), tmp_path / "net.pack")
    assert not is_recorded(tmp_path / "net.pack")


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
