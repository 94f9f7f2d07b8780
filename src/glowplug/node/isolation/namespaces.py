"""The agent's own process ids and mounts: whatever ends the agent ends everything that it ever started.

    outer     waits, outside; dies with the server
      init      the first process inside: with it the kernel ends all others; ends whoever nobody looks after
        agent

Without root the same is done inside a user namespace that maps nobody but ourselves.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import NoReturn

from glowplug.core.forks import die_with_parent, signal_at_parents_end
from glowplug.node.isolation import strays, syscalls

_INIT = 1
_has_init = False


def enter(server: int) -> str:
    """Returns in the agent's process, with namespaces of its own; or right here where the host does not allow
    that, and then the text says why. `server` is our parent, whose end ends us. Needs a single thread."""
    die_with_parent(server)
    wanted = syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNS
    try:
        if os.geteuid() == 0:
            syscalls.unshare(wanted, "process and mount")
        else:
            syscalls.unshare_as_ourselves(wanted, "user, process and mount")
    except OSError as error:
        return str(error)
    die_with_parent(server)  # which the new user namespace made the kernel forget
    _fork_and(_wait_for)
    syscalls.name_process("glowplug-init")
    try:
        syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
        _own_proc()
        why = ""
    except OSError as error:
        why = f"{error}: processes see the host's"
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD, signal.SIGHUP))
    _fork_and(_look_after_orphans)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGCHLD, signal.SIGHUP))
    global _has_init
    _has_init = True
    return why


def end_orphans() -> None:
    """Tells init, where there is one, to end those whose parents are gone."""
    if _has_init:
        os.kill(_INIT, signal.SIGHUP)


def _own_proc() -> None:
    """Shows this namespace's processes in /proc, and to each user only its own."""
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("proc", "/proc", "proc", flags, "hidepid=invisible")


def _fork_and(stay: Callable[[int], NoReturn]) -> None:
    """Returns in a child that dies with its parent; the parent stays in `stay(child)` and never returns."""
    kept, dropped = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        os.close(dropped)
        signal_at_parents_end(signal.SIGKILL)
        gone = _ended(kept)
        os.close(kept)
        if gone:
            os._exit(1)
        return
    os.close(kept)
    stay(child)


def _ended(descriptor: int) -> bool:
    os.set_blocking(descriptor, False)
    try:
        return os.read(descriptor, 1) == b""
    except BlockingIOError:
        return False


def _wait_for(child: int) -> NoReturn:
    syscalls.name_process("glowplug-outer")
    _, status = os.waitpid(child, 0)
    _end_like(os.waitstatus_to_exitcode(status))


def _look_after_orphans(agent: int) -> NoReturn:
    """Reaps, and ends every child but the agent: nobody else was started here."""
    while True:
        signal.sigwait((signal.SIGCHLD, signal.SIGHUP))
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)) is not None:
            if ended.si_pid == agent:
                _end_like(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status)
        strays.end_strays(lambda pid: pid == agent)


def _end_like(code: int) -> NoReturn:
    """With the status of a child: its own, or as a shell tells of a signal."""
    os._exit(code if code >= 0 else 128 - code)
