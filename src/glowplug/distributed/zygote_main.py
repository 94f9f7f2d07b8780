"""The process that workers of this machine are forked from: it imports once what each of them needs.

    python -m glowplug.distributed.zygote_main CONTROL PARENT

CONTROL is the number of an inherited socket of whole messages, PARENT the process with which this one ends,
and with it all that was forked. It runs one thread, and ends when nobody holds the other end of CONTROL.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
from pathlib import Path

import msgspec

from glowplug.core.forks import die_with_parent, run_and_exit
from glowplug.distributed.channels.base import Address
from glowplug.distributed.platform_line import SocketLine
from glowplug.distributed.start import Work

MOST_BYTES = 2**16


class Prepare(msgspec.Struct, frozen=True, tag="prepare"):
    """First of all: what is imported for the work, and for the channel at `address`."""

    address: Address
    work: Work = "network"


class Fork(msgspec.Struct, frozen=True, tag="fork"):
    """A worker, which gets three descriptors: its start message, its output, and its line."""


class Reap(msgspec.Struct, frozen=True, tag="reap"):
    """Of a worker that ended."""

    pid: int


class Forked(msgspec.Struct, frozen=True):
    """With a descriptor of the process. `held_bytes` of memory it shares with this one, none of them in a
    file."""

    pid: int
    held_bytes: int


class Reaped(msgspec.Struct, frozen=True):
    code: int
    peak_bytes: int


Request = Prepare | Fork | Reap


def main(control: socket.socket, parent: int) -> None:
    die_with_parent(parent)
    decoder = msgspec.json.Decoder(Request)
    own_bytes = 0
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, MOST_BYTES, 3)
        if not message:
            return
        match decoder.decode(message):
            case Prepare(address, work):
                _prepare(address, work)
                own_bytes = _anonymous_bytes()
            case Fork():
                pid = _forked(control, descriptors)
                handle = os.pidfd_open(pid)
                socket.send_fds(control, [msgspec.json.encode(Forked(pid, own_bytes))], [handle])
                _close([handle, *descriptors])
            case Reap(pid):
                _, status, usage = os.wait4(pid, 0)
                code = os.waitstatus_to_exitcode(status)
                control.send(msgspec.json.encode(Reaped(code, usage.ru_maxrss * 1024)))


def _prepare(address: Address, work: Work) -> None:
    """Raises RuntimeError where it cannot be forked any more."""
    from glowplug.distributed.channels.registry import room

    if work == "torch":
        import glowplug.distributed.torch_work
    else:
        import glowplug.distributed.work
        import glowplug.distributed.workload.loops  # noqa: F401 - loads what was compiled

    with contextlib.suppress(Exception):  # what fails here fails in a worker, which tells of it
        room(address.channel, **address.options)
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        raise RuntimeError(f"channel {address.channel!r} started {threads - 1} threads before it was opened")
    gc.collect()
    gc.freeze()


def _forked(control: socket.socket, descriptors: list[int]) -> int:
    """Its pid; the worker does not come back."""
    zygote = os.getpid()
    pid = os.fork()
    if pid == 0:
        run_and_exit(lambda: _work(zygote, control, descriptors))
    return pid


def _work(zygote: int, control: socket.socket, descriptors: list[int]) -> int:
    """The worker's exit status."""
    die_with_parent(zygote)
    os.setsid()
    control.close()
    start, output, line = descriptors
    for stream, target in ((start, 0), (output, 1), (output, 2)):
        os.dup2(stream, target)
    _close([start, output])
    from glowplug.distributed.worker import run_worker

    return run_worker(SocketLine(socket.socket(fileno=line)), sys.stdin.buffer.read())


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _anonymous_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
