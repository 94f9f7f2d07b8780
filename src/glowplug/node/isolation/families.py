"""Which families of sockets a process without a network may make: those that its network namespace holds, and
no others. A virtual machine's sockets to its host (AF_VSOCK) belong to no namespace."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from typing import NamedTuple

from glowplug.node.isolation import syscalls

_SET_FILTER, _WITHOUT_SLOWING_DOWN = 1, 4
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
"""In the kernel's `struct seccomp_data`; of the argument the lower half, on little-endian machines."""
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_IO_URING_SETUP = 425
"""Makes sockets too, past any filter."""
_OTHER_NUMBERS = 0x40000000
"""From here on x86 numbers its calls for 32 bits a second time."""
_HELD = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)


class _Machine(NamedTuple):
    architecture: int
    seccomp: int
    socket: int


_MACHINES = {"x86_64": _Machine(0xC000003E, 317, 41), "aarch64": _Machine(0xC00000B7, 277, 198)}


class _Step(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_uint16),
        ("then", ctypes.c_uint8),
        ("otherwise", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    ]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("steps", ctypes.POINTER(_Step))]


def refuse_others() -> None:
    """For the calling thread and all that it starts from now on. Needs `no_new_privileges` before. Raises
    OSError where this machine or its kernel has no such filter."""
    machine = _MACHINES.get(os.uname().machine)
    if machine is None:
        raise OSError(errno.ENOSYS, "the system calls of this machine are not known here")
    steps = _steps(machine)
    program = _Program(len(steps), (_Step * len(steps))(*steps))
    pointer = ctypes.c_void_p(ctypes.addressof(program))
    syscalls.call(machine.seccomp, "seccomp", _SET_FILTER, _WITHOUT_SLOWING_DOWN, pointer)


def _steps(machine: _Machine) -> list[_Step]:
    """Each jump says how many steps it leaves out."""
    return [
        _Step(_LOAD, 0, 0, _ARCHITECTURE_AT),
        _Step(_EQUAL, 1, 0, machine.architecture),
        _Step(_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        _Step(_LOAD, 0, 0, _NUMBER_AT),
        _Step(_AT_LEAST, 1, 0, _OTHER_NUMBERS),
        _Step(_EQUAL, 0, 1, _IO_URING_SETUP),
        _Step(_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        _Step(_EQUAL, 1, 0, machine.socket),
        _Step(_RETURN, 0, 0, _ALLOW),
        _Step(_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        *(_Step(_EQUAL, len(_HELD) - at, 0, family) for at, family in enumerate(_HELD)),
        _Step(_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT),
        _Step(_RETURN, 0, 0, _ALLOW),
    ]
