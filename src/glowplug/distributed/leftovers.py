"""What runs left whose process was killed: in an object store, in queues and topics, on a NATS server, and in
folders of this machine. Each is found by the names that runs give, and removed as a run would.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from glowplug.distributed.channels.claim_check import FOLDER as CLAIMS
from glowplug.distributed.channels.owners import abandoned_folders, remove_abandoned
from glowplug.distributed.channels.stored_blobs import Stored, StoredBlobs

_RUN = r"(?P<run>[A-Za-z0-9][A-Za-z0-9_-]*)"
_KEYS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"lambda-{_RUN}/(orders\.json|inputs\.npy|result\.npy|roll\.json|(words|beats|parts)/[^/]+)",
        rf"checkpoints-{_RUN}/\d+-\d+-\d+",
        rf"{CLAIMS}/{_RUN}/\d+-\d+/\d+-\d+-\d+",
        rf"{_RUN}/(open|\d+-\d+/\d+(-\d+)?\.\d+)",
        rf"open/{_RUN}",
        rf"\d/{_RUN}/\d+-\d+/\d+/\d+_\d+_\d+(\.nul)?",
    )
)
_PACKAGE = re.compile(r"packages/[0-9a-f]{32}(-[0-9a-f]+)?\.zip")
_CLAIM_TO_A_NAME = re.compile(r"open/[^/]+|[^/]+/(open|orders\.json)")


class Leftover(msgspec.Struct, frozen=True):
    """All that one run left in one place: so many `things`, the newest of them so old; None where that is
    not told, and its owner is known to be gone."""

    where: str
    run: str
    things: int
    age_s: float | None
    remove: Callable[[], None]

    def is_over(self, older_than_s: float) -> bool:
        return self.age_s is None or self.age_s >= older_than_s


def in_store(blobs: StoredBlobs) -> list[Leftover]:
    """Runs' objects, and packages of functions that were never made. Whatever has another name is somebody
    else's. Raises ChannelError."""
    runs: dict[str, list[Stored]] = {}
    for each in blobs.stored():
        run = _run_of(each.key)
        if run:
            runs.setdefault(run, []).append(each)
    now_s = time.time()
    return [
        Leftover(
            blobs.url, run, len(found), now_s - max(each.changed_s for each in found), _removal(blobs, found)
        )
        for run, found in sorted(runs.items())
    ]


def in_folders(bases: Iterable[Path]) -> list[Leftover]:
    """Folders whose owner is dead."""
    return [
        Leftover(str(path.parent), path.name, 1, None, _sweep(path))
        for base in bases
        for path in sorted(abandoned_folders(base))
    ]


def _run_of(key: str) -> str:
    if _PACKAGE.fullmatch(key):
        return key
    matches = (pattern.fullmatch(key) for pattern in _KEYS)
    return next((match["run"] for match in matches if match), "")


def _removal(blobs: StoredBlobs, found: list[Stored]) -> Callable[[], None]:
    """What says that the name is taken goes last."""

    def remove() -> None:
        keys = [each.key for each in found]
        blobs.delete([key for key in keys if not _CLAIM_TO_A_NAME.fullmatch(key)])
        blobs.delete([key for key in keys if _CLAIM_TO_A_NAME.fullmatch(key)])

    return remove


def _sweep(path: Path) -> Callable[[], None]:
    return lambda: remove_abandoned(path)
