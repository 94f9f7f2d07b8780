"""What the machine and the control groups above a process have left: from files, and from real ones that a
real neighbour fills."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from glowplug.node.isolation.cgroups import Group, open_groups
from glowplug.node.isolation.limits import Bounds
from glowplug.node.machine_memory import MachineMemory, most_bytes, read_memory

MB = 2**20
PLENTY = "MemTotal:       8192000 kB\nMemFree:  1 kB\nMemAvailable:   4096000 kB\nHugePages_Total:  0\n"
ROOM_BYTES = 256 * MB
EATEN_BYTES = 96 * MB
EATER = f"import sys; held = b'x' * {EATEN_BYTES}; print(len(held), flush=True); sys.stdin.read()"


def write(root: Path, **files: str) -> Path:
    """Files by their paths, with __ for each slash."""
    for name, text in {"proc__meminfo": PLENTY, **files}.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def group_files(folder: str, limit: str, used_bytes: int, cached_bytes: int) -> dict[str, str]:
    at = f"sys__fs__cgroup{folder}__memory."
    stat = f"anon 1\nactive_file {cached_bytes}\ninactive_file 0\nshmem 7\n"
    return {f"{at}max": limit, f"{at}high": "max\n", f"{at}current": f"{used_bytes}\n", f"{at}stat": stat}


def test_the_machine_alone(tmp_path: Path) -> None:
    assert read_memory(write(tmp_path)) == MachineMemory(8192000 * 1024, 4096000 * 1024)


def test_the_tightest_group_counts_and_its_page_cache_is_to_be_had(tmp_path: Path) -> None:
    files = group_files("__box", f"{900 * MB}\n", 700 * MB, 300 * MB)
    files |= group_files("__box__inner", "max\n", 600 * MB, 0)
    files |= {"proc__self__cgroup": "0::/box/inner\n"}
    assert read_memory(write(tmp_path, **files)) == MachineMemory(900 * MB, 500 * MB, limited=True)


def test_all_there_is_is_the_least_limit_though_more_is_left_below_it(tmp_path: Path) -> None:
    assert most_bytes(write(tmp_path)) == 8192000 * 1024
    files = group_files("__box", f"{5000 * MB}\n", 10 * MB, 0)
    files |= group_files("__box__inner", f"{6000 * MB}\n", 5 * MB, 0)
    write(tmp_path, proc__self__cgroup="0::/box/inner\n", **files)
    assert not read_memory(tmp_path).limited
    assert most_bytes(tmp_path) == 5000 * MB


def test_a_group_that_is_shown_as_the_root(tmp_path: Path) -> None:
    files = group_files("", f"{900 * MB}\n", 950 * MB, 10 * MB)
    files |= {"proc__self__cgroup": "0::/\n"}
    assert read_memory(write(tmp_path, **files)) == MachineMemory(900 * MB, 0, limited=True)


def test_version_1_has_no_limit_where_it_is_beyond_the_machine(tmp_path: Path) -> None:
    at = "sys__fs__cgroup__memory__box__memory."
    files = {
        "proc__self__cgroup": "8:pids:/\n4:memory:/box\n0::/\n",
        f"{at}limit_in_bytes": "9223372036854771712\n",
        f"{at}usage_in_bytes": f"{200 * MB}\n",
        f"{at}stat": f"total_active_file {20 * MB}\ntotal_inactive_file {30 * MB}\ninactive_file 1\n",
    }
    assert not read_memory(write(tmp_path, **files)).limited
    (tmp_path / "sys/fs/cgroup/memory/box/memory.limit_in_bytes").write_text(f"{500 * MB}\n")
    assert read_memory(tmp_path) == MachineMemory(500 * MB, 350 * MB, limited=True)


@pytest.mark.parametrize(("share", "stalled"), [("0.00", False), ("9.99", False), ("10.00", True)])
def test_stalls(tmp_path: Path, share: str, stalled: bool) -> None:
    text = f"some avg10={share} avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 total=0\n"
    assert read_memory(write(tmp_path, proc__pressure__memory=text)).stalled is stalled


@pytest.mark.parametrize("text", ["", "nonsense\n", "some avg10=x\n"])
def test_stalls_that_the_kernel_does_not_tell(tmp_path: Path, text: str) -> None:
    assert read_memory(write(tmp_path, proc__pressure__memory=text)).stalled is None


@pytest.mark.parametrize("text", ["", "MemTotal: 1 kB\n", "MemTotal: x kB\nMemAvailable: 1 kB\n"])
def test_a_machine_that_does_not_say(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"MemAvailable|MemTotal|invalid"):
        read_memory(write(tmp_path, proc__meminfo=text))


def test_this_machine() -> None:
    found = read_memory()
    assert 0 <= found.available_bytes <= found.total_bytes
    assert found.total_bytes > 64 * MB


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Group]:
    """A control group of its own, with a limit: what eats memory in it takes none of anybody else's."""
    try:
        groups = open_groups(tmp_path / "noted", wanted=("memory",))
    except OSError as error:
        pytest.skip(f"no control groups here: {error}")
    group = groups.make("room", Bounds(ROOM_BYTES, 0, 0))
    yield group
    group.remove()
    groups.close()


def test_what_a_neighbour_eats_is_not_left(tmp_path: Path, room: Group) -> None:
    folder = room.folders["memory"]
    is_unified = (folder / "memory.current").exists()
    at = "" if is_unified else "memory/"
    line = "0::/room\n" if is_unified else "4:memory:/room\n"
    root = write(tmp_path / "root", proc__self__cgroup=line)
    (root / f"sys/fs/cgroup/{at}").mkdir(parents=True)
    (root / f"sys/fs/cgroup/{at}room").symlink_to(folder)
    before = read_memory(root)
    assert before.limited
    assert before.available_bytes > ROOM_BYTES // 2
    enter = f"for path in {room.members_files}: open(path, 'w').write('0')\n"
    neighbour = subprocess.Popen(
        [sys.executable, "-c", enter + EATER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert neighbour.stdout is not None
        assert int(neighbour.stdout.readline()) == EATEN_BYTES
        eaten = read_memory(root)
    finally:
        neighbour.communicate()
    assert before.available_bytes - eaten.available_bytes >= EATEN_BYTES
    assert eaten.total_bytes == ROOM_BYTES
    assert eaten.available_bytes < read_memory(root).available_bytes
