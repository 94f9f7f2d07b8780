"""Landlock and orphans, in processes of their own: what they do to themselves cannot be undone."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from glowplug.node.isolation import landlock

KERNEL = tuple(int(each) for each in os.uname().release.split("-")[0].split(".")[:2])
CONFINED = """
import json, os, socket, sys
from pathlib import Path
from glowplug.node.isolation import landlock, syscalls
folder = Path(sys.argv[1])
opened = os.open(folder / "opened", os.O_RDONLY)
syscalls.no_new_privileges()
readable = ["/usr", "/lib", "/lib64", "/proc", folder / "read", folder / "none"]
landlock.confine(readable, [str(folder / "write")])

def tried(act):
    try:
        act()
    except OSError as error:
        return type(error).__name__
    return "done"

print(json.dumps({
    "reads": tried((folder / "read" / "file").read_text),
    "changes what it may read": tried(lambda: (folder / "read" / "file").write_text("x")),
    "writes": tried(lambda: (folder / "write" / "new").write_text("x")),
    "makes folders": tried((folder / "write" / "folder").mkdir),
    "reads elsewhere": tried((folder / "secret").read_text),
    "lists elsewhere": tried(lambda: list(folder.iterdir())),
    "reads what was opened": tried(lambda: os.read(opened, 1)),
    "opens again what was opened": tried(Path(f"/proc/self/fd/{opened}").read_bytes),
    "signals its parent": tried(lambda: os.kill(os.getppid(), 0)),
    "signals itself": tried(lambda: os.kill(os.getpid(), 0)),
}))
"""
FAMILIES = """
import ctypes, json, socket
from glowplug.node.isolation import families, syscalls

def made(family, kind=socket.SOCK_STREAM):
    try:
        socket.socket(family, kind).close()
    except OSError as error:
        return type(error).__name__, error.errno
    return "made", 0

def uring():
    return ctypes.CDLL(None, use_errno=True).syscall(425, 1, None), ctypes.get_errno()

names = ("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_VSOCK", "AF_ALG")
tries = {name: (getattr(socket, name), socket.SOCK_DGRAM if name == "AF_NETLINK" else socket.SOCK_STREAM)
         for name in names}
before = {name: made(*how) for name, how in tries.items()}
syscalls.no_new_privileges()
try:
    families.refuse_others()
except OSError as error:
    print(json.dumps(str(error)))
else:
    after = {name: made(*how) for name, how in tries.items()}
    pair = [end.close() for end in socket.socketpair()]
    print(json.dumps({"before": before, "after": after, "uring": uring()}))
"""
UNPRIVILEGED = """
import ctypes, json, os, signal, sys
from glowplug.node.isolation import families, landlock, launch, limits, syscalls
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(54321, 54321, 54321)
    os.setresuid(54321, 54321, 54321)
    syscalls.own_proc_files()
plan = {"groups": [], "tasks": 64, "no_network": True, "own_families": False, "own_ipc": True, "ids": None,
        "folder": "/", "landlock": None}

def zygote():
    # How many it may fork, while they all wait, and its capabilities.
    launch.confine(plan)
    children = []
    try:
        while len(children) < 1000:
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
    except OSError:
        pass
    with open("/proc/self/status") as file:
        held = [line.split()[1] for line in file if line.startswith(("CapPrm", "CapEff", "CapBnd"))]
    return len(children), held

found = []
try:
    syscalls.unshare_as_ourselves(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID, "as the agent's")
except OSError as error:
    print(json.dumps(str(error)))
    sys.exit()
init = os.fork()
if init == 0:
    for _ in range(2):
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.write(writer, json.dumps(zygote()).encode())
            signal.pause()
        os.close(writer)
        found.append(json.loads(os.read(reader, 1000) or "null"))
    print(json.dumps(found), flush=True)
    os._exit(0)
os.waitpid(init, 0)
"""
ADOPTS = """
import os, signal, subprocess, sys
from glowplug.node.isolation import strays, syscalls
syscalls.adopt_orphans()
ours = subprocess.Popen(["sleep", "1000"])
detach = "import os, time; os.setsid(); n = os.fork(); n or (os.close(1), time.sleep(1000)); print(n)"
inner = subprocess.run([sys.executable, "-c", detach], stdout=subprocess.PIPE, text=True, check=True)
stray = int(inner.stdout.split()[0])
assert stray in strays.children(), strays.children()
assert strays.end_strays(lambda pid: pid == ours.pid) == 1
assert strays.children() == [ours.pid]
ours.kill()
ours.wait()
"""
TRACED = """
import os, subprocess, sys
from glowplug.node.isolation import strays, syscalls
syscalls.adopt_orphans()
trace = "import ctypes, sys; libc = ctypes.CDLL(None); "
trace += "print(libc.ptrace(0x4206, int(sys.stdin.readline()), None, None), flush=True); sys.stdin.read()"
ours = subprocess.Popen(
    [sys.executable, "-c", trace], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
)
detach = "import os, time; os.setsid(); n = os.fork(); n or (os.close(1), time.sleep(1000)); print(n)"
inner = subprocess.run([sys.executable, "-c", detach], stdout=subprocess.PIPE, text=True, check=True)
stray = int(inner.stdout)
ours.stdin.write(f"{stray}\\n")
answer = ours.stdout.readline().strip()
if answer != "0":
    print("nobody may trace here")
    sys.exit()
assert strays.end_strays(lambda pid: pid == ours.pid) == 0
assert sorted(strays.children()) == sorted([ours.pid, stray])
ours.kill()
ours.wait()
assert strays.end_strays(lambda pid: False) == 1
assert strays.children() == []
"""


def run(code: str, *arguments: Any) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(landlock.version() == 0, reason="this kernel has no Landlock")
def test_what_landlock_leaves(tmp_path: Path) -> None:
    for name in ("read", "write"):
        (tmp_path / name).mkdir()
    for name in ("read/file", "secret", "opened"):
        (tmp_path / name).write_text("text")
    found = json.loads(run(CONFINED, tmp_path))
    allowed = {name for name, outcome in found.items() if outcome == "done"}
    expected = {"reads", "writes", "makes folders", "reads what was opened", "signals itself"}
    if landlock.version() < 6:
        expected.add("signals its parent")
    assert allowed == expected


def test_which_sockets_are_left_to_who_has_no_network() -> None:
    found = json.loads(run(FAMILIES))
    if isinstance(found, str):
        pytest.skip(found)
    for name in ("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"):
        assert found["after"][name] == found["before"][name], name
    for name in ("AF_VSOCK", "AF_ALG"):
        assert found["after"][name] == ["OSError", errno.EAFNOSUPPORT], name
    assert found["uring"] == [-1, errno.ENOSYS]


@pytest.mark.skipif(KERNEL < (5, 14), reason="this kernel counts a user's tasks over all namespaces")
def test_without_root_each_environment_has_its_own_number_of_tasks_and_no_capability() -> None:
    found = json.loads(run(UNPRIVILEGED))
    if isinstance(found, str):
        pytest.skip(found)
    assert [made for made, _ in found] == [63, 63]
    assert {held for _, each in found for held in each} == {"0" * 16}


def test_rights_grow_with_the_version() -> None:
    assert landlock.handled(1) == (1 << 13) - 1
    assert landlock.handled(5) == landlock.handled(99) == (1 << 16) - 1


def test_orphans_are_ended_and_children_are_not() -> None:
    run(ADOPTS)


def test_an_orphan_that_somebody_traces_holds_nobody_up() -> None:
    if unable := run(TRACED):
        pytest.skip(unable)
