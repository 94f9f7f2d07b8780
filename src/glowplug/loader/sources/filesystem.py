"""Whether a file lies on a disk of this machine."""

from __future__ import annotations

import ctypes
import functools

_STATFS_BYTES = 512
"""More than any Linux's `struct statfs`, which begins with the file system's magic number."""
_MAGIC_MASK = 0xFFFFFFFF

NETWORK_MAGICS = frozenset(
    {
        0x6969,  # NFS
        0x517B,  # SMB
        0xFF534D42,  # CIFS
        0xFE534D42,  # SMB 2 and later
        0x65735546,  # FUSE: s3fs, gcsfuse, sshfs, virtiofs
        0x01021997,  # 9p
        0x00C36400,  # Ceph
        0x0BD00BD0,  # Lustre
        0x47504653,  # GPFS
        0x19830326,  # BeeGFS
        0xAAD7AAEA,  # PanFS
        0x20030528,  # OrangeFS
        0x5346414F,  # OpenAFS
        0x6B414653,  # AFS
        0x73757245,  # Coda
        0x564C,  # NCP
        0x01161970,  # GFS2
        0x7461636F,  # OCFS2
        0x786F4256,  # VirtualBox's shared folders
        0xBACBACBC,  # VMware's
        0x7C7C6673,  # Parallels'
    }
)


def is_network_filesystem(fd: int) -> bool:
    """Whether the file behind `fd` may lie elsewhere, so that a mapping of it is slow or may vanish (SIGBUS).

    True as well where the kernel does not say: who asks will stream then, which is right everywhere.
    """
    magic = filesystem_magic(fd)
    return magic is None or magic in NETWORK_MAGICS


def filesystem_magic(fd: int) -> int | None:
    """`f_type` of fstatfs(2), None where the call fails."""
    answer = (ctypes.c_char * _STATFS_BYTES)()
    if _libc().fstatfs(fd, answer) != 0:
        return None
    return ctypes.c_long.from_buffer(answer).value & _MAGIC_MASK


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fstatfs.argtypes = [ctypes.c_int, ctypes.c_void_p]
    return libc
