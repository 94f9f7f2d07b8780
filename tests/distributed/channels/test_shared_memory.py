"""Between processes of one machine."""

from __future__ import annotations

import fcntl
import itertools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from glowplug.distributed.channels import MessageKey, Room, owners
from glowplug.distributed.channels.owners import abandoned_folders, owned_folder, sweep_folders
from glowplug.distributed.channels.shared_memory import SharedMemoryRoom
from glowplug.distributed.errors import ChannelMissing, ChannelUnavailable, RunExists
from glowplug.testing.channel_suite import WAIT_S, WORKERS, ChannelSuite, receive_all

PEER = """
import sys, msgspec
from glowplug.distributed.channels import Address, MessageKey, join
address = msgspec.json.decode(sys.argv[1], type=Address)
me = int(sys.argv[2])
end = join(address, me)
for layer in range(int(sys.argv[3])):
    sent = [(MessageKey(address.run, 0, layer, me, t), bytes([me, t, layer % 256]) * 1000)
            for t in range(address.workers) if t != me]
    end.send(sent)
    wanted = {MessageKey(address.run, 0, layer, s, me) for s in range(address.workers) if s != me}
    while wanted:
        came = end.receive(wanted, 60.0)
        assert came, (layer, wanted)
        for key, payload in came.items():
            assert payload == bytes([key.source, me, layer % 256]) * 1000
        wanted -= came.keys()
    end.fence(0, layer + 1)
    if layer == 0:
        print("begun", flush=True)
print("done", len(list(end._mailbox.glob("[0-9]*"))), flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


class TestSharedMemory(ChannelSuite):
    by_address = True

    @pytest.fixture
    def new_room(self, folder: Path) -> Callable[[], Room]:
        return lambda: SharedMemoryRoom(str(folder))

    @pytest.fixture
    def leftovers(self, folder: Path) -> Callable[[], list[str]]:
        return lambda: sorted(str(path) for path in folder.rglob("*"))


@pytest.fixture
def room(folder: Path) -> Iterator[SharedMemoryRoom]:
    with SharedMemoryRoom(str(folder)).open("processes", WORKERS) as opened:
        yield opened


def _peer(room: Room, worker: int, layers: int) -> subprocess.Popen[str]:
    address = msgspec.json.encode(room.address).decode()
    command = [sys.executable, "-c", PEER, address, str(worker), str(layers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_that_know_nothing_of_each_other(room: SharedMemoryRoom) -> None:
    peers = [_peer(room, worker, 100) for worker in range(WORKERS)]
    said = [peer.communicate(timeout=180)[0].split() for peer in peers]
    assert said == [["begun", "done", "0"]] * WORKERS


def test_a_worker_killed_in_mid_run_is_replaced(room: SharedMemoryRoom) -> None:
    """The successor begins again where its predecessor's fences had not yet come."""
    peer = _peer(room, 1, 10_000)
    ends = {worker: room.end(worker) for worker in (0, 2)}
    for worker, end in ends.items():
        end.send([(MessageKey("processes", 0, 0, worker, 1), bytes([worker, 1, 0]) * 1000)])
    assert peer.stdout is not None
    assert peer.stdout.readline() == "begun\n"
    for worker, end in ends.items():
        end.send([(MessageKey("processes", 0, 1, worker, 1), b"again")])
    peer.send_signal(signal.SIGKILL)
    peer.wait()
    peer.stdout.close()
    successor = room.end(1)
    wanted = {MessageKey("processes", 0, 1, worker, 1) for worker in ends}
    assert receive_all(successor, wanted) == dict.fromkeys(wanted, b"again")


def test_the_bell_of_who_was_given_up_does_not_ring_any_more(room: SharedMemoryRoom) -> None:
    sender, given_up = room.end(0), room.end(1)
    first, second = (MessageKey("processes", 0, layer, 0, 1) for layer in (0, 1))
    sender.send([(first, b"first")])
    successor = room.end(1)
    sender.send([(second, b"second")])
    assert given_up.receive([second], 0.0) == {}
    assert receive_all(successor, {first, second}) == {first: b"first", second: b"second"}


def test_a_fence_frees_the_memory(room: SharedMemoryRoom) -> None:
    sender, receiver = room.end(0), room.end(1)
    keys = [MessageKey("processes", 0, layer, 0, 1) for layer in range(5)]
    for key in keys:
        sender.send([(key, bytes(100))])
    assert receive_all(receiver, set(keys[:4])).keys() == set(keys[:4])
    receiver.fence(0, 3)
    assert sorted(path.name for path in (room.path / "1").glob("[0-9]*")) == ["0-3-0-0", "0-4-0-0"]
    sender.send([(keys[0], bytes(100))])
    assert receiver.receive(keys[:3], 0.0) == {}
    assert sorted(path.name for path in (room.path / "1").glob("[0-9]*")) == ["0-3-0-0", "0-4-0-0"]


def test_files_that_are_not_whole_are_no_messages(room: SharedMemoryRoom) -> None:
    mailbox = room.path / "1"
    (mailbox / ".0-0-0-0.77").write_bytes(b"half")
    (mailbox / "0-0-0").write_bytes(b"strange")
    assert room.end(1).receive([MessageKey("processes", 0, 0, 0, 1)], 0.0) == {}


def test_a_run_whose_process_died_is_replaced(folder: Path) -> None:
    program = (
        "import sys, os\n"
        "from glowplug.distributed.channels.shared_memory import SharedMemoryRoom\n"
        "SharedMemoryRoom(sys.argv[1]).open('orphan', 2)\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
        "os._exit(1)\n"
    )
    command = [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "open\n"
        with pytest.raises(RunExists, match=str(owner.pid)):
            SharedMemoryRoom(str(folder)).open("orphan", 2)
        owner.communicate("")
    with SharedMemoryRoom(str(folder)).open("orphan", 2) as room:
        assert (room.path / "owner").read_text().split()[0] == str(os.getpid())
    assert list(folder.iterdir()) == []


def test_what_dead_runs_left_is_found_and_goes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their names; not what a process holds that is alive, or is of another container or machine."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as owner:
        mine = claimed_by(owner.pid, folder / "glowplug-run-abc")
        half = claimed_by(owner.pid, folder / ".glowplug-gone.7.gone")
        (folder / "glowplug-elsewhere").mkdir()
        (folder / "glowplug-elsewhere" / "owner").write_text("1 1 pid:[1]")
        (folder / "glowplug-link").symlink_to(mine)
        sweep_folders(folder)
        assert {mine, half} <= set(folder.iterdir())
        owner.kill()
    # Another machine's first processes are numbered in a namespace of the same name.
    with monkeypatch.context() as patch:
        patch.setattr(owners, "_machine", lambda: "another")
        assert abandoned_folders(folder) == []
    sweep_folders(folder)
    assert {path.name for path in folder.iterdir()} == {"glowplug-elsewhere", "glowplug-link"}


def close_room(folder: Path, dead: str) -> None:
    room = SharedMemoryRoom(str(folder)).open("half", 2)
    fill(room.path, dead)
    room.close()


def sweep(folder: Path, dead: str) -> None:
    (folder / "glowplug-half").mkdir()
    fill(folder / "glowplug-half", dead)
    sweep_folders(folder)


def end_block(folder: Path, dead: str) -> None:
    with owned_folder("glowplug-half-") as path:
        fill(path, dead)


def fill(path: Path, dead: str) -> None:
    """As a process has filled it that is dead when it is looked at again."""
    names = ["a", "b", "d/e", "owner", "f/g", "h"]
    for name in names:
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(dead)


@pytest.mark.parametrize("remove", [close_room, sweep, end_block])
def test_a_removal_that_is_interrupted_is_done_by_who_comes_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch, remove: Callable[[Path, str], None]
) -> None:
    """Wherever that was: each of its six files is what it comes to last in turn."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with subprocess.Popen(["true"]) as process:
        dead = owners._identity(process.pid)
    unlink, left = os.unlink, itertools.count()

    def interrupted(path: Any, **where: Any) -> None:
        if not next(left):
            raise KeyboardInterrupt
        unlink(path, **where)

    for files in range(6):
        left = itertools.count(-files)
        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", interrupted)
            with pytest.raises(KeyboardInterrupt):
                remove(folder, dead)
        assert abandoned_folders(folder)
        sweep_folders(folder)
        assert list(folder.iterdir()) == []


def dead_pipe(path: Path, dead: str) -> None:
    os.mkfifo(path)


def dead_link(path: Path, dead: str) -> None:
    path.with_name("elsewhere").write_text(dead)
    path.symlink_to("elsewhere")


def dead_noise(path: Path, dead: str) -> None:
    path.write_bytes(b"\xff\xfe")


@pytest.mark.parametrize("make", [dead_pipe, dead_link, dead_noise])
def test_an_owner_that_another_user_could_have_put_there_is_not_believed(
    folder: Path, make: Callable[[Path, str], None]
) -> None:
    with subprocess.Popen(["true"]) as dead:
        told = owners._identity(dead.pid)
    (folder / "glowplug-x").mkdir()
    make(folder / "glowplug-x" / "owner", told)
    sweep_folders(folder)
    assert (folder / "glowplug-x").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_a_run_of_another_user_is_neither_removed_nor_replaced(folder: Path) -> None:
    with subprocess.Popen(["true"]) as dead:
        theirs = claimed_by(dead.pid, folder / "glowplug-theirs")
    for path in (theirs / "owner", theirs):
        os.chown(path, 12345, 12345)
    sweep_folders(folder)
    with pytest.raises(RunExists, match="another user's"):
        SharedMemoryRoom(str(folder)).open("theirs", 1)
    assert (theirs / "owner").is_file()


def claimed_by(pid: int, path: Path) -> Path:
    path.mkdir()
    (path / "owner").write_text(owners._identity(pid))
    return path


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ChannelMissing, match="is not a folder"):
        SharedMemoryRoom(str(tmp_path / "absent")).open("nowhere", 1)


def test_a_receiver_that_does_not_look_stops_its_senders_in_the_end(folder: Path) -> None:
    with SharedMemoryRoom(str(folder), send_timeout_s=0.0).open("deaf", 2) as room:
        sender, deaf = room.end(0), room.end(1)
        # A page of bells: 256 keys.
        fcntl.fcntl(deaf._bell._descriptor, fcntl.F_SETPIPE_SZ, 4096)
        keys = [MessageKey("deaf", 0, 0, 0, 1, chunk) for chunk in range(300)]
        with pytest.raises(ChannelUnavailable, match="did not look"):
            sender.send([(key, b"") for key in keys])
        assert len(receive_all(deaf, set(keys[:256]))) == 256
        sender.send([(keys[299], b"")])
        assert deaf.receive(keys[299:], WAIT_S) == {keys[299]: b""}
