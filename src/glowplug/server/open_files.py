"""How many files this process may have open: each connection is one."""

from __future__ import annotations

import resource

_WANTED = 65_536
_SHARE = 0.75
"""Of all files, connections of clients may be so many; the rest is for workers, bundles and the database."""


def raise_open_files() -> int:
    """Raises the soft limit as far as the hard one and reason allow; returns how many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return int((_WANTED if soft == resource.RLIM_INFINITY else soft) * _SHARE)
