"""Control groups on file systems that look like both versions, and on this machine's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from glowplug.core.priority import PASSED_OVER, Priority
from glowplug.node.isolation.cgroups import Group, Groups, open_groups, remove_leftovers
from glowplug.node.isolation.limits import Bounds

BOUNDS = Bounds(64 * 2**20, 16, 2048)
VERSION_1 = "4:memory:/box/a\n8:pids:/\n1:cpu,cpuacct:/box\n0::/\n"


def look_alike(folder: Path, *, unified: bool, enabled: str = "cpu memory pids") -> Path:
    """Plain folders where a kernel would have its own."""
    mount = folder / "cgroup"
    if unified:
        (mount / "box" / "a").mkdir(parents=True)
        (mount / "cgroup.controllers").write_text("cpu memory pids")
        for place in (mount, mount / "box", mount / "box" / "a"):
            (place / "cgroup.subtree_control").write_text(enabled)
    else:
        for path in ("memory/box/a", "pids", "cpu/box"):
            (mount / path).mkdir(parents=True)
    return mount


def made_in(folder: Path, **kind: bool) -> tuple[Path, Group, Path]:
    """(where groups are, one of them, the note). The look-alike's files would keep a probe from going."""
    mount = look_alike(folder, **kind)
    noted = folder / "noted"
    if kind["unified"]:
        groups = Groups(
            dict.fromkeys(("memory", "pids", "cpu"), mount / "box" / "a"), "glowplug-x-", 2, noted
        )
    else:
        places = {"memory": mount / "memory/box/a", "pids": mount / "pids", "cpu": mount / "cpu/box"}
        groups = Groups(places, "glowplug-x-", 1, noted)
    return mount, groups.make("s1", BOUNDS), noted


@pytest.mark.parametrize("unified", [True, False])
def test_of_memory_alone(tmp_path: Path, *, unified: bool) -> None:
    """What is not wanted need not be there, and is not written."""
    folder = tmp_path / "memory"
    folder.mkdir()
    group = Group({"memory": folder}, unified)
    group.limit(Bounds(64 * 2**20, 0, 0))
    written = {path.name: path.read_text() for path in folder.iterdir()}
    assert written["memory.max" if unified else "memory.limit_in_bytes"] == str(64 * 2**20)
    assert all(name.startswith("memory.") for name in written)


def test_limits_of_version_1(tmp_path: Path) -> None:
    mount, _, _ = made_in(tmp_path, unified=False)
    assert (mount / "memory/box/a/glowplug-x-s1/memory.limit_in_bytes").read_text() == str(64 * 2**20)
    assert (mount / "pids/glowplug-x-s1/pids.max").read_text() == "16"
    assert (mount / "cpu/box/glowplug-x-class-3/glowplug-x-s1/cpu.shares").read_text() == "2048"


def test_limits_of_version_2(tmp_path: Path) -> None:
    mount, group, _ = made_in(tmp_path, unified=True)
    place = mount / "box/a/glowplug-x-class-3/glowplug-x-s1"
    handed_on = (place.parent / "cgroup.subtree_control").read_text()
    assert sorted(handed_on.split()) == ["+cpu", "+memory", "+pids"]
    assert (place / "memory.max").read_text() == str(64 * 2**20)
    assert (place / "memory.swap.max").read_text() == "0"
    assert (place / "pids.max").read_text() == "16"
    assert (place / "cpu.weight").read_text() == "200"
    assert group.members_files == [str(place / "cgroup.procs")]


@pytest.mark.parametrize("unified", [False, True])
def test_each_kill_for_memory_is_told_once(tmp_path: Path, unified: bool) -> None:
    mount, group, _ = made_in(tmp_path, unified=unified)
    name = (
        "box/a/glowplug-x-class-3/glowplug-x-s1/memory.events.local"
        if unified
        else "memory/box/a/glowplug-x-s1/memory.oom_control"
    )
    assert not group.out_of_memory()
    (mount / name).write_text("low 0\noom 3\noom_kill 2\noom_group_kill 7\n")
    assert [group.out_of_memory() for _ in range(3)] == [True, True, False]


def test_where_controllers_are_not_handed_on_there_are_no_groups(tmp_path: Path) -> None:
    mount = look_alike(tmp_path, unified=True, enabled="cpu")
    for path in mount.rglob("cgroup.subtree_control"):
        path.unlink()
        path.symlink_to("/dev/null")  # whatever is asked for, nothing is handed on
    with pytest.raises(OSError, match="Delegate=yes"):
        open_groups(tmp_path / "noted", mount, "0::/box/a\n")


def test_a_host_without_groups(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no control groups for memory, cpu"):
        open_groups(tmp_path / "noted", tmp_path, "8:pids:/\n")


def test_only_what_was_noted_and_is_ours_is_removed(tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    for name in ("glowplug-a-s1", "glowplug-b-s1", "other-s1"):
        (tmp_path / name).mkdir()
    noted.write_text(f"{tmp_path}/glowplug-a-\n{tmp_path}/other-")
    remove_leftovers(noted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["glowplug-b-s1", "other-s1"]


@pytest.mark.parametrize("unified", [False, True])
def test_a_class_has_its_part_however_many_are_in_another(tmp_path: Path, *, unified: bool) -> None:
    mount = look_alike(tmp_path, unified=unified)
    tree = mount / ("box/a" if unified else "cpu/box")
    places = {"cpu": tree, "memory": tree if unified else mount / "memory"}
    groups = Groups(places, "glowplug-x-", 2 if unified else 1, tmp_path / "noted")
    for number in range(5):
        groups.make(f"s{number}", BOUNDS)
    for number in range(5, 7):
        groups.make(f"s{number}", BOUNDS._replace(rank=Priority.BACKGROUND, shares=15))
    weight = "cpu.weight" if unified else "cpu.shares"
    above, below = (
        int((tree / f"glowplug-x-class-{int(rank)}" / weight).read_text())
        for rank in (Priority.INTERACTIVE, Priority.BACKGROUND)
    )
    assert above / below == pytest.approx(1 + PASSED_OVER[Priority.BACKGROUND], rel=0.1)
    assert len(list((tree / "glowplug-x-class-1").glob("glowplug-x-s*"))) == 2


@pytest.mark.parametrize("unified", [False, True])
def test_members_that_stand_back_are_of_another_class_and_count_where_they_did(
    tmp_path: Path, *, unified: bool
) -> None:
    mount = look_alike(tmp_path, unified=unified)
    tree = mount / ("box/a" if unified else "cpu/box")
    places = {"memory": tree if unified else mount / "memory", "cpu": tree}
    groups = Groups(places, "glowplug-x-", 2 if unified else 1, tmp_path / "noted")
    group = groups.make("s1", BOUNDS)
    beside = groups.beside(group, "s1-ahead", BOUNDS._replace(rank=Priority.BACKGROUND, shares=15))
    behind = tree / "glowplug-x-class-1" / "glowplug-x-s1-ahead"
    assert str(behind / "cgroup.procs") in beside.members_files
    if not unified:
        memory = str(mount / "memory" / "glowplug-x-s1" / "cgroup.procs")
        assert memory in beside.members_files
        assert memory in group.members_files
        assert (behind / "cpu.shares").read_text() == "15"
        (mount / "memory" / "glowplug-x-s1" / "memory.oom_control").write_text("oom_kill 1\n")
        assert [each.out_of_memory() for each in (beside, group, beside)] == [False, True, False]
        (behind / "cpu.shares").unlink()  # the kernel's own files are no hindrance
        beside.remove()
        assert not behind.exists()
        assert (mount / "memory" / "glowplug-x-s1").exists(), "it is the other's"


def test_groups_in_classes_are_removed_with_them(tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    (tmp_path / "glowplug-a-class-1" / "glowplug-a-s1").mkdir(parents=True)
    noted.write_text(f"{tmp_path}/glowplug-a-")
    remove_leftovers(noted)
    assert list(tmp_path.iterdir()) == []


def own_groups(tmp_path: Path) -> Groups:
    try:
        return open_groups(tmp_path / "noted")
    except OSError as error:
        pytest.skip(f"this machine has no control groups for us: {error}")


def test_a_member_that_eats_memory_is_ended_and_its_group_removed(tmp_path: Path) -> None:
    groups = own_groups(tmp_path)
    try:
        group = groups.make("t1", BOUNDS)
        code = "import sys; sys.stdin.read(1); held = [bytearray(1 << 20) for _ in range(500)]"
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as hog:
            group.add(hog.pid)
            assert hog.stdin is not None
            hog.stdin.write(b"x")
            hog.stdin.close()
            assert hog.wait(60) == -signal.SIGKILL
        assert group.out_of_memory()
        with subprocess.Popen(["sleep", "1000"]) as sleeper:
            group.add(sleeper.pid)
            group.add(2**22 + 1)  # is gone, which is no error
            # It is ours to reap, so that its group can go while we wait for that.
            os.kill(sleeper.pid, signal.SIGKILL)
            sleeper.wait(60)
        group.remove()
        assert not any(Path(name).exists() for name in group.members_files)
    finally:
        groups.close()
    assert not (tmp_path / "noted").exists()


def test_a_disk_that_takes_no_note_takes_no_limits_away(tmp_path: Path) -> None:
    """What is lost is that a later agent finds what this one left."""
    folder = tmp_path / "memory"
    folder.mkdir()
    groups = Groups({"memory": folder}, "glowplug-", 2, tmp_path / "full" / "cgroups")
    assert groups.version == 2
    assert not (tmp_path / "full").exists()
