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
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from glowplug.bundle.artifacts import Artifacts
from glowplug.bundle.environments import EnvironmentStore
from glowplug.bundle.files import move_durably, remove, sync_tree, touch
from glowplug.bundle.manifest import MANIFEST, Manifest
from glowplug.bundle.trees import remove_tree
from glowplug.bundle.uploads import extract_upload
from glowplug.core.errors import BodyTooLarge, InvalidUpload
from glowplug.core.ids import VersionId
from glowplug.core.units import show_bytes

_CHUNK_BYTES = 4 * 2**20


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
            with temporary.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > max_bytes:
                        raise BodyTooLarge(f"upload is larger than {max_bytes} bytes")
                    digest.update(chunk)
                    file.write(chunk)
            name = digest.hexdigest()
            if not touch(self.uploads / name):
                # Requests are answered meanwhile: a model takes its time to be written and flushed.
                await asyncio.to_thread(self._unpack, temporary, self.uploads / name)
            return name, size
        finally:
            temporary.unlink(missing_ok=True)

    def _unpack(self, archive: Path, final: Path) -> None:
        unpacked = self.uploads / f".new-{secrets.token_hex(8)}"
        unpacked.mkdir()
        try:
            extract_upload(archive, unpacked)
            sync_tree(unpacked)
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
        """
        temporary = self.packs / f".new-{secrets.token_hex(8)}"
        digest, size = hashlib.sha256(), 0
        try:
            descriptor = os.open(
                produced, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            )  # a pipe must not stop us
            with open(descriptor, "rb") as source, temporary.open("wb") as target:
                facts = os.fstat(descriptor)
                if not stat.S_ISREG(facts.st_mode):
                    raise OSError(errno.EINVAL, "the pack is no file")
                expected_bytes = facts.st_size
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
            if touch(self.pack_path(name)):
                temporary.unlink()
            else:
                move_durably(temporary, self.pack_path(name))
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
