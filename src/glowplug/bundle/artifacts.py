"""The artifact store: where packs are kept for good, by content. A node's disk is a cache of it.

A folder (`/mnt/packs`, `file:///mnt/packs`) needs nothing; `s3://`, `gs://` and `az://` need obstore.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import Any, Protocol

from glowplug.bundle.files import move_durably
from glowplug.core.errors import InvalidDeclaration, Unavailable

_SCHEMES = ("s3", "gs", "az")
_NEW = ".new-"
_ABANDONED_S = 86_400.0
"""A pack that nobody has added to for so long is not being stored any more."""


class Artifacts(Protocol):
    """Safe to use from several threads."""

    def put(self, path: Path, pack: str) -> None:
        """Stores a pack under its SHA-256; one that is there already is left alone. Raises OSError."""

    def url(self, pack: str) -> str:
        """Where `loader.sources` finds it."""

    def has(self, pack: str) -> bool:
        """Whether it is there. Raises OSError."""


def open_artifacts(place: str) -> Artifacts | None:
    """The store at this address; None for the empty one: there is no store but the node's disk.

    Raises InvalidDeclaration for an unknown scheme, Unavailable when it cannot be opened.
    """
    if not place:
        return None
    folder, scheme = local_folder(place), place.partition("://")[0]
    try:
        if folder is not None:
            return FolderArtifacts(folder)
        if scheme in _SCHEMES:
            return ObjectArtifacts(place)
    except OSError as error:
        raise Unavailable(f"the artifact store {place} cannot be opened: {error}") from error
    known = ", ".join(f"{name}://" for name in _SCHEMES)
    raise InvalidDeclaration(f"{place}: an artifact store is a folder, file://, {known}")


def local_folder(place: str) -> Path | None:
    """The folder of this machine that the address is of, if it is of one."""
    scheme, found, rest = place.partition("://")
    if not place or (found and scheme != "file"):
        return None
    return Path(rest if found else place).absolute()


class FolderArtifacts:
    """A folder, on this machine or mounted. What has its final name is whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._remove_abandoned()

    def put(self, path: Path, pack: str) -> None:
        final = self._folder / f"{pack}.pack"
        if final.exists():
            return
        temporary = self._folder / f"{_NEW}{secrets.token_hex(8)}"
        try:
            with path.open("rb") as source, temporary.open("wb") as target:
                shutil.copyfileobj(source, target, 4 * 2**20)
                target.flush()
                os.fsync(target.fileno())
            move_durably(temporary, final)
        finally:
            temporary.unlink(missing_ok=True)

    def _remove_abandoned(self) -> None:
        """What a process that was killed had not stored whole. Others may be storing something right now."""
        for path in self._folder.glob(f"{_NEW}*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < time.time() - _ABANDONED_S:
                    path.unlink()

    def url(self, pack: str) -> str:
        return str(self._folder / f"{pack}.pack")

    def has(self, pack: str) -> bool:
        return (self._folder / f"{pack}.pack").exists()


class ObjectArtifacts:
    """A bucket, or a prefix in one. Credentials come from the environment, as the stores' own tools have
    them.
    """

    def __init__(self, place: str) -> None:
        try:
            import obstore
        except ImportError as error:
            raise OSError(f"{place} needs obstore: pip install 'glowplug[stores]'") from error
        self._place = place.rstrip("/")
        self._obstore: Any = obstore
        with _as_os_error(self._place):
            self._store: Any = obstore.store.from_url(self._place)

    def put(self, path: Path, pack: str) -> None:
        if not self.has(pack):
            with _as_os_error(self._place):
                self._obstore.put(self._store, f"{pack}.pack", path)

    def url(self, pack: str) -> str:
        return f"{self._place}/{pack}.pack"

    def has(self, pack: str) -> bool:
        with _as_os_error(self._place):
            try:
                self._obstore.head(self._store, f"{pack}.pack")
            except FileNotFoundError:
                return False
        return True


class _as_os_error:  # noqa: N801 (used like a function)
    """obstore's errors have a root of their own; whoever stores things expects OSError."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None and not isinstance(error, (OSError, KeyboardInterrupt)):
            said = str(error).partition("\n\nDebug source")[0]
            raise OSError(f"{self._place}: {said}") from error
