"""What nobody needs any more of a store is removed: at the start, and while uploads come, are deployed and
built.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import msgspec

from glowplug.bundle.files import remove
from glowplug.bundle.store import BundleStore
from glowplug.bundle.uploads import read_inspection
from glowplug.core.errors import InvalidUpload
from glowplug.core.ids import PackagesId, VersionId

JUST_NOW_S = 60.0
"""What was used more recently is not garbage yet."""
UNDEPLOYED_S = 3600.0
"""How long an upload may wait until all that it declares is deployed."""


class Kept(msgspec.Struct, frozen=True):
    """What has to stay: `versions` with their packs, and `uploads` that are still to be built from.
    `deployed` says of an upload which of its declarations were; `packages` are what versions require."""

    versions: set[VersionId]
    uploads: set[str]
    deployed: dict[str, set[str]]
    is_building: bool
    packages: set[PackagesId] = set()


def collect_all(store: BundleStore, versions: set[VersionId], uploads: set[str]) -> None:
    """Every bundle, pack and upload that none of these needs, however young: when nothing is under way."""
    for folder, wanted in (
        (store.bundles, set(map(str, versions))),
        (store.packs, store.packs_of(versions)),
        (store.uploads, uploads),
    ):
        for path in store.unneeded(folder, wanted):
            remove(path)


def collect(store: BundleStore, kept: Kept) -> bool:
    """Bundles, packs, uploads, and lists of packages with the wheels that came with them. Whether any is left
    that is too young, or that somebody may name yet."""
    packs = store.packs_of(kept.versions)
    old_s = time.time() - JUST_NOW_S
    found = [(path, old_s) for path in store.unneeded(store.bundles, set(map(str, kept.versions)))]
    if not kept.is_building:  # nobody names a pack until its bundle is whole
        found += [(path, old_s) for path in store.unneeded(store.packs, packs)]
    lists = store.unneeded(store.environments.requests, set(map(str, kept.packages)))
    found += [(path, old_s) for path in lists]
    for path in store.unneeded(store.uploads, kept.uploads):
        is_done = _declared(path) <= kept.deployed.get(path.name, set())
        found.append((path, old_s if is_done else time.time() - UNDEPLOYED_S))
    removed = [_remove_older(path, than_s) for path, than_s in found]
    return kept.is_building or not all(removed)


def _declared(upload: Path) -> set[str]:
    """The names in an upload; an empty one, which nothing has, when they cannot be read."""
    try:
        return {declaration.name for declaration in read_inspection(upload).declarations}
    except InvalidUpload:
        return {""}


def _remove_older(path: Path, than_s: float) -> bool:
    """Removes what was not used since. It loses its name first: whoever touched it before that gets it back,
    whoever comes after does not find it. False when it stays."""
    aside = path.with_name(f".new-{secrets.token_hex(8)}")
    try:
        if path.stat().st_mtime >= than_s:
            return False
        path.rename(aside)
        if aside.stat().st_mtime >= than_s and not path.exists():
            aside.rename(path)
            return False
    except OSError:
        return False
    remove(aside)
    return True
