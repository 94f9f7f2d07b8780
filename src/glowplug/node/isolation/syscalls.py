"""The system calls that Python lacks. Each raises OSError with its name; constants are the kernel's own."""

from __future__ import annotations

import contextlib
import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
_MNT_DETACH = 2

CAP_KILL, CAP_SETGID, CAP_SETUID = 5, 6, 7
_LAST_CAPABILITY = 63
_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_DUMPABLE, _PR_SET_NAME = 4, 15
_ARG_START = 45
"""In /proc/PID/stat, counted from the first field after the command's name."""
_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271, "s390x": 280}
_JOIN_SESSION_KEYRING = 1
_PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 24, 36, 38


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def call(number: int, what: str, *arguments: int | ctypes.c_void_p) -> int:
    """A raw system call. `what` is its name, for the error."""
    return _check(_libc.syscall(ctypes.c_long(number), *arguments), what)


def unshare(flags: int, what: str) -> None:
    """Leaves the namespaces of `flags` for new ones, which `what` names."""
    _check(_libc.unshare(flags), f"a new {what} namespace")


def unshare_as_ourselves(flags: int, what: str) -> None:
    """The same without root: inside a user namespace that maps nobody but us, where we may do it."""
    user, group = os.geteuid(), os.getegid()
    unshare(flags | CLONE_NEWUSER, what)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """As mount(2), in this process's mount namespace. Raises OSError."""
    encoded = [None if v is None else os.fsencode(v) for v in (source, target, kind, data)]
    result = _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    _check(result, f"mount {target}")


def unmount(target: str) -> None:
    """At once for who looks; the kernel frees it when nobody uses it any more."""
    _check(_libc.umount2(os.fsencode(target), _MNT_DETACH), f"umount {target}")


def no_new_privileges() -> None:
    """No set-uid program and no file capability raises this process or its children from now on."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")


def own_keyring() -> None:
    """An empty session keyring: whoever inherits one may read the keys in it, whatever user it is by then.
    Where the kernel has no keys, or keeps this system call from us, there are none to be read."""
    number = _KEYCTL.get(os.uname().machine)
    if number is not None:
        with contextlib.suppress(OSError):
            call(number, "keyctl", _JOIN_SESSION_KEYRING, ctypes.c_void_p(None))


def adopt_orphans() -> None:
    """Whose parent dies below this process becomes its child, unless somebody between adopts it too."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")


def own_proc_files() -> None:
    """Gives a process that changed its user its own files in /proc back."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl(PR_SET_DUMPABLE)")


def name_process(name: str) -> None:
    """What ps and top show of this process: its first 15 bytes."""
    _libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]), 0, 0, 0)


def show_command(words: list[str]) -> None:
    """What ps and /proc show as the words that this process was started with, in place of those that it was:
    no more of them than fits there. Its children are shown so too."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    start, end = int(fields[_ARG_START]), int(fields[_ARG_START + 1])
    room = end - start
    ctypes.memmove(start, os.fsencode("\0".join(words))[: room - 1].ljust(room, b"\0"), room)


def keep_capabilities(kept: tuple[int, ...]) -> None:
    """Drops all others for good: this process has no more, and no program that it executes gets more."""
    for capability in range(_LAST_CAPABILITY + 1):
        if capability not in kept and _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            if ctypes.get_errno() == 22:  # EINVAL: the kernel knows no capability of this number
                break
            _check(-1, "prctl(PR_CAPBSET_DROP)")
    sets = sum(1 << capability for capability in kept)
    # Two structs of three words: effective, permitted and inheritable, the lower 32 capabilities first.
    data = (ctypes.c_uint32 * 6)(sets & 0xFFFFFFFF, sets & 0xFFFFFFFF, 0, sets >> 32, sets >> 32, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, data), "capset")
