"""A process that imports once and forks often: `python -c COMMAND DESCRIPTOR PARENT LIBRARY ...`.

It runs one thread, reads Fork messages, and answers Forked with the child's pidfd. The environment's zygote
starts here; a function's zygote is its child and runs the same `serve_forks`. Fork safety is checked, not
hoped for: whoever has more than one thread reports it, and is never asked to fork. `imports` sees to it that
an environment's zygote has one.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial

from glowplug.core.forks import die_with_parent, run_and_exit
from glowplug.node import procfs, share, variables, wire
from glowplug.node.imports import Importer, lasting_threads
from glowplug.node.isolation import child as isolation
from glowplug.node.isolation import strays, syscalls
from glowplug.node.messages import (
    ChildExited,
    Fork,
    Forked,
    ForkFailed,
    MapPages,
    PagesMapped,
    ToZygote,
    ZygoteReady,
)  # fmt: skip

COMMAND = "from glowplug.node.zygote import main; main()"
_FRESH_S = 0.05
"""A worker asked for so soon after the imports waited for them: they are a phase of its request."""
KEPT_BYTES = 24 * 10**6
"""A parked worker may hold this much private memory before it gives some back."""
_IDLE_MS = 300
"""A zygote that nobody needs for so long tidies its heap: no request in line waits for that."""
Child = Callable[[Fork, socket.socket, list[int]], None]


def main() -> None:
    """The environment's zygote, from its first line to its end."""
    run(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), sys.argv[3:], sys.orig_argv)


def run(sock: socket.socket, parent: int, libraries: list[str], command: list[str]) -> None:
    """Imports, and forks until the agent is gone. `command` begins it anew, in this process."""
    importer = Importer(sock.fileno(), command)
    gc.disable()  # an import leaves nearly no garbage, and looking for it takes a tenth of its time
    syscalls.name_process("glowplug-zygote")
    die_with_parent(parent)
    known = importer.run(libraries)
    from glowplug.node import roles  # what every child needs, imported once

    gc.freeze()
    gc.enable()
    phases = {"import": time.monotonic() - known.started_s}
    ready = ZygoteReady(
        phases, procfs.anonymous_bytes(), 1 + lasting_threads(), known.missing, known.left_out
    )
    try:
        wire.send(sock, ready)
    except OSError:
        return
    ready_s = time.monotonic()

    def child(message: Fork, control: socket.socket, extra: list[int]) -> None:
        fresh = message.sent_s - ready_s < _FRESH_S
        roles.run(message, control, extra, None, phases["import"] if fresh else 0.0)

    serve_forks(sock, child)


def settle() -> None:
    """Makes the heap fork-friendly: nothing to collect, old objects out of the collector's way."""
    gc.collect()
    gc.freeze()
    procfs.give_back_memory()


def give_back(held_bytes: int) -> int:
    """What a primed worker keeps of `held_bytes`: all, while it is little, for its first request needs the
    same memory again and each page costs a fault; else it is returned to the kernel. Returns its bytes now.
    """
    if held_bytes <= KEPT_BYTES:
        return held_bytes
    gc.collect()
    procfs.give_back_memory(keep_bytes=KEPT_BYTES - 4 * 10**6)
    return procfs.private_dirty_bytes()


def serve_forks(sock: socket.socket, child: Child, set_mapped: Callable[[bool], object] = bool) -> None:
    """Forks on request until the agent is gone. Returns in the zygote only; children end in `child`.

    `set_mapped` maps the weights' pages or unmaps them, when the agent asks for it.
    """
    receiver = wire.Receiver(sock, ToZygote)
    forked: set[int] = set()
    syscalls.adopt_orphans()
    wake_in, wake_out = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_out, warn_on_full_buffer=False)
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    poller.register(wake_in, select.POLLIN)
    settled = False
    while True:
        ready = {descriptor for descriptor, _ in poller.poll(None if settled else _IDLE_MS)}
        if not ready:
            settle()
            settled = True
        if wake_in in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake_in, 4096)
            _reap(sock, forked)
        if sock.fileno() not in ready:
            continue
        found = receiver.receive()
        if found is None:
            return
        message, descriptors = found
        if isinstance(message, MapPages):
            set_mapped(message.mapped)
            wire.send(sock, PagesMapped())
            continue
        try:
            pid = os.fork()
        except OSError as error:
            wire.send(sock, ForkFailed(f"fork: {error}"))
            wire.close_all(descriptors)
            continue
        if pid == 0:
            inherited = (sock.fileno(), wake_in, wake_out)
            run_and_exit(partial(_become_child, message, descriptors, child, inherited))
        forked.add(pid)
        try:
            handle = os.pidfd_open(pid)
            try:
                wire.send(sock, Forked(pid), (handle,))
            finally:
                os.close(handle)
        except OSError as error:
            os.kill(pid, signal.SIGKILL)
            wire.send(sock, ForkFailed(f"pidfd: {error}"))
        wire.close_all(descriptors)


def _reap(sock: socket.socket, forked: set[int]) -> None:
    """Reports the children that ended, and ends whatever they had started: all that came here by itself."""
    ours = False
    while forked:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
        if ended is None:
            break
        if ended.si_pid in forked:
            forked.remove(ended.si_pid)
            code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
            wire.send(sock, ChildExited(ended.si_pid, code))
            ours = True
    if ours:
        strays.end_strays(forked.__contains__)


def _become_child(message: Fork, descriptors: list[int], child: Child, inherited: tuple[int, ...]) -> int:
    """Leaves the zygote's life behind and runs the role. The exit status."""
    parent = os.getppid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # a worker that is not yet one reads its cancels later
    wire.close_all(inherited)
    control, *given = descriptors
    os.setsid()
    extra = settle_as(message, given, parent)
    sock = socket.socket(fileno=control)
    sock.settimeout(None)  # whatever the function's module has set as the default
    child(message, sock, extra)
    return 0


def settle_as(message: Fork, descriptors: list[int], parent: int) -> list[int]:
    """Takes the streams, the share, the confinement and the place of what it is to be. Returns the
    descriptors that are its role's. Raises OSError."""
    stdout, stderr, *extra = descriptors
    own = variables.take(extra.pop(0)) if message.has_variables else {}
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    wire.close_all((stdout, stderr))
    share.take(message.nice, message.threads, message.device.cores if message.device is not None else ())
    if message.confinement is not None:
        isolation.confine(message.confinement)
    die_with_parent(parent)
    isolation.settle_in(message.home)
    os.environ.update(own)
    time.tzset()  # the C library looked at TZ when it was first asked for a local time
    reseed()
    syscalls.name_process(f"{message.role}:{message.function}")
    return extra


def reseed() -> None:
    """Siblings must not draw the same numbers: the generators that a process has as a whole begin anew, those
    that somebody made are left as they are."""
    for name in ("random", "numpy.random"):
        module = sys.modules.get(name)
        if module is not None:
            module.seed()
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.random.default_generator.seed()
        if torch.cuda.is_initialized():
            torch.cuda.seed_all()
