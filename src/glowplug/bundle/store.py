"""The artifact store on one machine's disk: uploads, packs by content, bundles by version.

    uploads/<sha256>/        what came in, unpacked
    packs/<sha256>.pack      skeleton and weights, one copy per content
    bundles/<version>/       manifest.json and code/
    environments/            packages that functions require: see environments.py

Everything is written under a temporary name, flushed, then renamed: what has its final name is whole.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import AsyncIterator, Coroutine
from io import RawIOBase
from pathlib import Path
from typing import Any

import msgspec

from glowplug.bundle.artifacts import Artifacts
from glowplug.bundle.environments import EnvironmentStore
from glowplug.bundle.files import move_durably, remove, sha256_of, sync_tree, touch
from glowplug.bundle.manifest import MANIFEST, Manifest
from glowplug.bundle.trees import remove_tree
from glowplug.bundle.uploads import extract_upload
from glowplug.core.errors import BodyTooLarge, BuildFailed, InvalidUpload
from glowplug.core.ids import VersionId
from glowplug.core.units import show_bytes

_CHUNK_BYTES = 4 * 2**20
_PIECE_BYTES = 256 * 1024
"""Of an upload, at once: each that comes in slowly holds so much."""
_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EACCES}


class BundleStore:
    """Paths and moves inside one state folder. Errors of the disk (no space) are raised as OSError."""

    def __init__(self, root: Path, artifacts: Artifacts | None = None) -> None:
        self.root = root
        self.artifacts = artifacts
        self.uploads = root / "uploads"
        self.packs = root / "packs"
        self.bundles = root / "bundles"
        self.incoming = root / "incoming"
        self.environments = EnvironmentStore(root)

    def prepare(self) -> None:
        """Makes the folders and removes what an earlier process left half written."""
        remove_tree(self.incoming)
        for folder in (self.root, self.uploads, self.packs, self.bundles, self.incoming):
            folder.mkdir(parents=True, exist_ok=True)
            # What lies in them is found by who was told its name: code of packages may look around here.
            folder.chmod(0o755 if folder == self.root else 0o711)
        for folder in (self.packs, self.bundles, self.uploads):
            for path in folder.glob(".new-*"):
                remove(path)
        self.environments.prepare()

    async def receive_upload(self, chunks: AsyncIterator[bytes], max_bytes: int) -> tuple[str, int]:
        """Stores a streamed tar and returns (its SHA-256, its bytes).

        Raises BodyTooLarge, InvalidUpload, or OSError; nothing is left behind then.
        """
        temporary = self.incoming / f"{secrets.token_hex(8)}.tar"
        digest, size = hashlib.sha256(), 0
        try:
            with temporary.open("wb", buffering=0) as file:
                async for piece in _pieces(chunks):
                    size += len(piece)
                    if size > max_bytes:
                        raise BodyTooLarge(f"upload is larger than {max_bytes} bytes")
                    # A disk that is slow, or full of what is to be written, keeps nobody else waiting.
                    await _whole(asyncio.to_thread(_append, file, digest, piece))
            name = digest.hexdigest()
            if not touch(self.uploads / name):
                # Requests are answered meanwhile: a model takes its time to be written and flushed.
                await asyncio.to_thread(self._unpack, temporary, self.uploads / name)
            return name, size
        finally:
            # A large file takes its time to go, too.
            await _whole(asyncio.to_thread(temporary.unlink, missing_ok=True))

    def _unpack(self, archive: Path, final: Path) -> None:
        unpacked = self.uploads / f".new-{secrets.token_hex(8)}"
        unpacked.mkdir()
        try:
            extract_upload(archive, unpacked)
            sync_tree(unpacked)
            touch(unpacked)  # it may have taken longer than what is not used stays
            move_durably(unpacked, final)
        except BaseException as error:
            remove_tree(unpacked)
            # Another one of the same may have been faster.
            if not isinstance(error, OSError) or not final.exists():
                raise

    def upload_path(self, upload: str) -> Path:
        """The folder of an upload. Raises InvalidUpload for a name that was never returned."""
        if (
            len(upload) != 64
            or not set(upload) <= set("0123456789abcdef")
            or not (self.uploads / upload).is_dir()
        ):
            raise InvalidUpload(
                f"no upload {upload[:80]!r}: upload the archive first, then deploy it by its digest"
            )
        touch(self.uploads / upload)
        return self.uploads / upload

    def has_upload(self, upload: str) -> bool:
        return (self.uploads / upload).is_dir()

    def bundle_path(self, version: VersionId) -> Path:
        return self.bundles / version

    def pack_path(self, pack: str) -> Path:
        return self.packs / f"{pack}.pack"

    def manifest(self, version: VersionId, *, trusting: bool = False) -> Manifest | None:
        """The manifest of a version whose bundle is whole, here or with its pack in the artifact store.

        An artifact store that does not answer has no pack, but to who is `trusting`.
        """
        found = self.described(version)
        if found is None or (found.pack and not self._has(found.pack, unknown=trusting)):
            return None
        # Packs of parts are on this disk and nowhere else.
        return found if all(self.pack_path(part.pack).exists() for part in found.parts) else None

    def described(self, version: VersionId) -> Manifest | None:
        """The manifest of a version, wherever its pack is; None when there is none."""
        try:
            data = (self.bundle_path(version) / MANIFEST).read_bytes()
            return msgspec.json.decode(data, type=Manifest)
        except (OSError, msgspec.MsgspecError):
            return None

    def _has(self, pack: str, *, unknown: bool) -> bool:
        if self.pack_path(pack).exists():
            return True
        try:
            return self.artifacts is not None and self.artifacts.has(pack)
        except OSError:
            return unknown

    def adopt_pack(self, produced: Path, limit_bytes: int) -> tuple[str, int]:
        """Copies a pack out of a function's scratch folder; returns (its SHA-256, its bytes).

        A copy and not a move: the process that made the file may still hold it open for writing. It may be
        longer than what it takes on the disk, and grow meanwhile: beyond `limit_bytes` OSError is raised.
        Raises BuildFailed when there is no file of its own, OSError for what the disk does.
        """
        temporary = self.packs / f".new-{secrets.token_hex(8)}"
        digest, size = hashlib.sha256(), 0
        try:
            with open(_open_made(produced), "rb") as source, temporary.open("wb") as target:
                expected_bytes = os.fstat(source.fileno()).st_size
                while expected_bytes <= limit_bytes and (chunk := source.read(_CHUNK_BYTES)):
                    size += len(chunk)
                    expected_bytes = max(expected_bytes, size)
                    digest.update(chunk)
                    target.write(chunk)
                if expected_bytes > limit_bytes:
                    raise OSError(errno.ENOSPC, f"the pack is larger than {show_bytes(limit_bytes)}")
                target.flush()
                os.fsync(target.fileno())
            temporary.chmod(0o444)
            name = digest.hexdigest()
            known = self.pack_path(name)
            if touch(known) and _has_hash(known, name):
                temporary.unlink()
            else:  # there is none, or a disk has spoilt it; who maps that keeps it
                move_durably(temporary, known)
            return name, size
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def publish(self, manifest: Manifest, code: Path) -> None:
        """Makes bundles/<version> from the code files that the manifest names. Replaces nothing."""
        final = self.bundle_path(manifest.version)
        temporary = self.bundles / f".new-{secrets.token_hex(8)}"
        try:
            for name in manifest.files:
                target = temporary / "code" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(code / name, target)
                target.chmod(0o444)
            temporary.mkdir(exist_ok=True)
            (temporary / MANIFEST).write_bytes(msgspec.json.encode(manifest))
            sync_tree(temporary)
            if final.exists():
                remove_tree(final)
            move_durably(temporary, final)
        except BaseException:
            remove_tree(temporary)
            raise

    def packs_of(self, versions: set[VersionId]) -> set[str]:
        """The names of their packs' files."""
        found = [each for each in map(self.described, versions) if each is not None]
        return {f"{pack}.pack" for each in found for pack in (each.pack, *(part.pack for part in each.parts))}

    def unneeded(self, folder: Path, wanted: set[str]) -> list[Path]:
        """What is whole in one of the store's folders and not among the names `wanted`."""
        return [
            path for path in folder.iterdir() if path.name not in wanted and not path.name.startswith(".new-")
        ]


async def _pieces(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of _PIECE_BYTES, about; the last has what is left."""
    piece = bytearray()
    async for chunk in chunks:
        piece += chunk
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Ends when that has, also where nobody wants it any more: the file is open until then."""
    running = asyncio.ensure_future(work)
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()
        raise


def _append(file: RawIOBase, digest: Any, piece: bytes) -> None:
    digest.update(piece)
    rest = memoryview(piece)
    while rest:  # one call may write a part
        rest = rest[file.write(rest) :]


def _has_hash(path: Path, digest: str) -> bool:
    try:
        return sha256_of(path) == digest
    except OSError:  # a disk may give an error for it
        return False


def _open_made(path: Path) -> int:
    """A descriptor of what a function's own code made. Raises BuildFailed when it is no file, OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe must not stop us
    except OSError as error:
        if error.errno in _NO_FILE:
            raise BuildFailed(f"the pack is no file: {error.strerror}") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BuildFailed("the pack is no file")
    return descriptor
