"""What one model makes a machine hold between two requests.

Three parts, none of which counts a page twice: the libraries that were imported for it, what its own
processes hold beyond them, and the part of its weights' file that lies in the page cache. Pages of other
files (the interpreter, libraries' code) belong to nobody in particular and are left out.
"""

from __future__ import annotations

from glowplug.bench.systems.processes import descendants
from glowplug.node.procfs import memory_fields


def environment_bytes(pid: int) -> int:
    """All anonymous memory of a process that imported the libraries, shared with its children or not."""
    return _whole(memory_fields(pid))


def tree_bytes(zygote: int) -> tuple[int, int]:
    """(bytes of the environment's zygote, bytes that the processes below it hold beyond those).

    An anonymous page in a tree of forks is mapped by processes of that tree alone, and each counts its share
    of it; so their shares add up to the pages of the whole tree, once each, and what is above the zygote's
    own pages exists for those below it. They must all be of the one model.
    """
    fields = memory_fields(zygote)
    shares = (_share(each) for each in (fields, *map(memory_fields, descendants(zygote))))
    whole = _whole(fields)
    return whole, max(0, sum(shares) - whole)


def _whole(fields: dict[str, int]) -> int:
    return fields.get("Anonymous", 0) + fields.get("Pss_Shmem", 0)


def _share(fields: dict[str, int]) -> int:
    return fields.get("Pss_Anon", 0) + fields.get("Pss_Shmem", 0)
