"""A function's variables, its secrets among them, on their way to its process: in a file without a name that
nobody else reads. What came in a message would stay in the memory of the zygote that read it, and each of its
forks, whosever they are, begins with all of that memory."""

from __future__ import annotations

import os

import msgspec


def apart(variables: dict[str, str]) -> tuple[int, ...]:
    """A descriptor, closed on exec, for `take`; none when there are no variables. The caller closes it once
    it is sent. Raises OSError."""
    if not variables:
        return ()
    handle = os.memfd_create("variables", os.MFD_CLOEXEC)
    try:
        os.pwrite(handle, msgspec.msgpack.encode(variables), 0)
    except BaseException:
        os.close(handle)
        raise
    return (handle,)


def take(handle: int) -> dict[str, str]:
    """What `apart` was given, in the process that it is for. Closes the descriptor."""
    try:
        data = os.pread(handle, os.fstat(handle).st_size, 0)
    finally:
        os.close(handle)
    return msgspec.msgpack.decode(data, type=dict[str, str])
