"""An upload: one uncompressed tar of a source file, what it imports, its weights and its inspection."""

from __future__ import annotations

import errno
import io
import sys
import tarfile
from pathlib import Path
from typing import NoReturn, Self

import msgspec

from glowplug.bundle.files import sha256_of
from glowplug.bundle.inspect import Inspection
from glowplug.bundle.trees import below
from glowplug.core.errors import UNREADABLE, InvalidUpload
from glowplug.core.specs import Declaration
from glowplug.core.units import show_bytes

INSPECTION = "glowplug.json"
_MOST_INSPECTION_BYTES = 16 * 2**20
_MOST_FILES = 100_000
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
             tarfile.GNUTYPE_LONGLINK)  # fmt: skip
"""Headers that have what the next one has no room for: names and times."""
_MOST_EXTENDED_BYTES = 2**20
_BY_ITS_NAMES = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EINVAL, errno.ELOOP}


def write_upload(source: Path, inspection: Inspection, path: Path) -> None:
    """Writes the tar of the files named by `inspection`, of the folder in which `source` really lies. Same
    content, same bytes."""
    folder = source.resolve().parent
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        text = msgspec.json.encode(msgspec.structs.replace(inspection, read=()))  # paths of this machine
        head = tarfile.TarInfo(INSPECTION)
        head.size = len(text)
        archive.addfile(head, io.BytesIO(text))
        for name in inspection.files:
            file = folder / name
            info = tarfile.TarInfo(f"code/{name}")
            info.size = file.stat().st_size
            with file.open("rb") as stream:
                archive.addfile(info, stream)


class _Header(tarfile.TarInfo):
    """tarfile believes what a header says of sizes: it reads all of an extended one, and goes back by a
    negative one, for ever (CVE-2025-8194)."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        if found.type == tarfile.GNUTYPE_SPARSE:
            raise InvalidUpload(f"upload holds {found.name[:200]!r}, which is no regular file")
        most = _MOST_EXTENDED_BYTES if found.type in _EXTENDED else sys.maxsize
        if not 0 <= found.size <= most:
            raise InvalidUpload(f"upload is no archive of files: a header claims {found.size} bytes")
        return found

    def _no_map(self, *_: object) -> NoReturn:
        """Of where a sparse file's bytes lie, which may go on for ever."""
        raise InvalidUpload("upload holds a sparse file, which is no regular file")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _no_map


def extract_upload(archive_path: Path, target: Path) -> None:
    """Unpacks into `target`, regular files only, nothing outside it. Raises InvalidUpload, OSError."""
    try:
        with tarfile.open(archive_path, "r:", tarinfo=_Header) as archive:
            kept: list[tarfile.TarInfo] = archive.members  # type: ignore[attr-defined]
            for number, member in enumerate(archive):
                kept.clear()  # it would hold them all
                # A sparse file may claim more bytes than any upload has.
                if not (member.isfile() or member.isdir()) or member.issparse() or member.size < 0:
                    raise InvalidUpload(f"upload holds {member.name[:200]!r}, which is no regular file")
                if number >= _MOST_FILES:
                    raise InvalidUpload(f"upload holds more than {_MOST_FILES} files")
                member.mode = 0o755 if member.isdir() else 0o644
                archive.extract(member, target, filter="data")
        # An archive that ends inside a header is read as one that ends before it.
        for name in read_inspection(target).files:
            if not (target / "code" / name).is_file():
                raise InvalidUpload(f"upload is not complete: it has no {name[:200]!r}; send it again")
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidUpload(f"upload is not a complete tar archive: {error}") from error
    except OSError as error:
        if error.errno not in _BY_ITS_NAMES:
            raise
        raise InvalidUpload(f"upload holds a name that no file can have: {error.strerror}") from error


def read_inspection(upload: Path) -> Inspection:
    """The declarations that came with an upload. Raises InvalidUpload."""
    try:
        if (upload / INSPECTION).stat().st_size > _MOST_INSPECTION_BYTES:
            raise InvalidUpload(f"upload's {INSPECTION} has more than {show_bytes(_MOST_INSPECTION_BYTES)}")
        return msgspec.json.decode((upload / INSPECTION).read_bytes(), type=Inspection)
    except (OSError, *UNREADABLE) as error:
        raise InvalidUpload(f"upload has no readable {INSPECTION}: {error}") from error


def find_declaration(upload: Path, name: str) -> Declaration:
    """The declaration called `name` in an upload. Raises InvalidUpload naming those that are there."""
    declarations = read_inspection(upload).declarations
    for declaration in declarations:
        if declaration.name == name:
            return declaration
    raise InvalidUpload(f"the upload declares no {name!r}, only {', '.join(d.name for d in declarations)}")


def code_files(upload: Path) -> dict[str, str]:
    """The SHA-256 of each file that a bundle keeps of an upload, by its path: all but the packed weights."""
    weights = {declaration.weights for declaration in read_inspection(upload).declarations}
    code = upload / "code"
    found = {}
    for path in sorted(below(code)):
        name = path.relative_to(code).as_posix()
        if path.is_file() and name not in weights:
            found[name] = sha256_of(path)
    return found
