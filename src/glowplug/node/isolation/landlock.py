"""Landlock: what a process and all that it starts may touch of the file system, whoever they run as.

Rules only ever narrow: a second set is added to the first, and what both allow is allowed.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable

from glowplug.node.isolation import syscalls

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH = 1, 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1 << 0, 1 << 1
_RIGHTS_BY_VERSION = (0, 13, 14, 15, 15, 16)
"""How many of the rights each version knows, from version 0 on; later ones know as many as the last."""
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
READ = EXECUTE | READ_FILE | READ_DIR


class _Ruleset(ctypes.Structure):
    _fields_ = [("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def version() -> int:
    """What this kernel offers, 0 for nothing."""
    try:
        return syscalls.call(_CREATE_RULESET, "landlock_create_ruleset", 0, 0, _VERSION_FLAG)
    except OSError:
        return 0


def handled(abi: int) -> int:
    """Every right that a kernel of this version can deny."""
    return (1 << _RIGHTS_BY_VERSION[min(abi, len(_RIGHTS_BY_VERSION) - 1)]) - 1


def confine(
    readable: Iterable[str],
    writable: Iterable[str],
    devices: Iterable[str] = (),
    abi: int | None = None,
) -> None:
    """From here on only `readable` paths can be read or executed, and `writable` ones changed.

    `devices` may be read, written and controlled. A path that does not exist is left out. Needs
    `no_new_privileges` before. Where the kernel knows how, signals and abstract sockets reach only who was
    confined by this very call or started by such. Raises OSError.
    """
    abi = version() if abi is None else abi
    everything = handled(abi)
    attributes = _Ruleset(everything, 0, _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = syscalls.call(
        _CREATE_RULESET, "landlock_create_ruleset", ctypes.c_void_p(ctypes.addressof(attributes)), size, 0
    )  # fmt: skip
    try:
        for path in readable:
            _allow(ruleset, path, READ & everything)
        for path in writable:
            _allow(ruleset, path, everything & ~IOCTL_DEV)
        for path in devices:
            _allow(ruleset, path, (READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV | READ_DIR) & everything)
        syscalls.call(_RESTRICT_SELF, "landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        rule = _PathBeneath(rights, descriptor)
        syscalls.call(
            _ADD_RULE, "landlock_add_rule", ruleset, _PATH_BENEATH, ctypes.c_void_p(ctypes.addressof(rule)), 0
        )
    finally:
        os.close(descriptor)
