"""The store: what has its final name is whole, hostile archives stay outside, content is stored once."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import tarfile
import threading
import tracemalloc
from collections.abc import AsyncIterator
from io import RawIOBase
from pathlib import Path
from typing import Any

import msgspec
import pytest

import glowplug.bundle.store as store_module
from glowplug.bundle import uploads
from glowplug.bundle.garbage import collect_all
from glowplug.bundle.inspect import Inspection
from glowplug.bundle.manifest import Manifest, version_id
from glowplug.bundle.store import BundleStore
from glowplug.bundle.uploads import INSPECTION, code_files, find_declaration, write_upload
from glowplug.core.errors import BodyTooLarge, BuildFailed, InvalidUpload
from glowplug.core.ids import EnvironmentId, FunctionId, VersionId
from glowplug.core.specs import Declaration

DECLARED = Inspection(
    (Declaration("shout", "function", "app", "shout", weights="w.bin"),), ("app.py", "w.bin")
)


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    made = BundleStore(tmp_path / "state")
    made.prepare()
    return made


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    (tmp_path / "app.py").write_text("print()")
    (tmp_path / "w.bin").write_bytes(b"weights")
    write_upload(tmp_path / "app.py", DECLARED, tmp_path / "upload.tar")
    return (tmp_path / "upload.tar").read_bytes()


def receive(store: BundleStore, data: bytes, limit: int = 2**20) -> str:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    return asyncio.run(store.receive_upload(chunks(), limit))[0]


def tar_with(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for info, data in members:
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def leftovers(store: BundleStore) -> list[Path]:
    return [p for folder in (store.uploads, store.incoming, store.packs) for p in folder.iterdir()]


def test_an_upload_is_kept_by_its_content(store: BundleStore, archive: bytes) -> None:
    upload = receive(store, archive)
    assert receive(store, archive) == upload
    assert len(list(store.uploads.iterdir())) == 1
    folder = store.upload_path(upload)
    assert find_declaration(folder, "shout").qualname == "shout"
    assert list(code_files(folder)) == ["app.py"], "packed weights do not travel with the code"


def test_who_else_is_served_does_not_wait_for_an_upload_to_be_unpacked(
    store: BundleStore, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, served, unpack = threading.Event(), threading.Event(), store._unpack

    def unpack_slowly(*paths: Path) -> None:
        began.set()
        assert served.wait(10.0), "nobody else is served meanwhile"
        unpack(*paths)

    monkeypatch.setattr(store, "_unpack", unpack_slowly)

    async def others() -> None:
        while not began.is_set():
            await asyncio.sleep(0)
        served.set()

    async def received() -> str:
        async def chunks() -> AsyncIterator[bytes]:
            yield archive

        name, _ = await store.receive_upload(chunks(), 2**20)
        return name

    async def main() -> list[str]:
        first, second, _ = await asyncio.gather(received(), received(), others())
        return [first, second]

    first, second = asyncio.run(main())
    assert first == second
    assert [path.name for path in leftovers(store)] == [first]


def test_nor_for_it_to_be_written(
    store: BundleStore, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who gives up meanwhile has the file closed when the disk is done with it, and nothing is left."""
    began, served, append = threading.Event(), threading.Event(), store_module._append
    closed: list[bool] = []

    def append_slowly(file: RawIOBase, *given: Any) -> None:
        began.set()
        assert served.wait(10.0), "nobody else is served meanwhile"
        append(file, *given)
        closed.append(file.closed)

    monkeypatch.setattr(store_module, "_append", append_slowly)

    async def received() -> str:
        async def chunks() -> AsyncIterator[bytes]:
            yield archive

        name, _ = await store.receive_upload(chunks(), 2**20)
        return name

    async def main(gives_up: bool) -> str | BaseException:
        upload = asyncio.create_task(received())
        while not began.is_set():
            await asyncio.sleep(0)
        if gives_up:
            upload.cancel()
            await asyncio.sleep(0)
        served.set()
        (found,) = await asyncio.gather(upload, return_exceptions=True)
        began.clear()
        served.clear()
        return found

    assert isinstance(asyncio.run(main(gives_up=True)), asyncio.CancelledError)
    assert leftovers(store) == []
    upload = asyncio.run(main(gives_up=False))
    assert [path.name for path in leftovers(store)] == [upload]
    assert closed == [False, False]


def test_an_upload_of_many_pieces_is_kept_whole(
    store: BundleStore, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_PIECE_BYTES", 3000)
    assert receive(store, archive) == hashlib.sha256(archive).hexdigest()


@pytest.mark.parametrize("cut", [0, 100, 600, 1600, 2048, 2100])
def test_a_truncated_upload_leaves_nothing(store: BundleStore, archive: bytes, cut: int) -> None:
    with pytest.raises(InvalidUpload):
        receive(store, archive[:cut])
    assert leftovers(store) == []


def test_an_upload_that_is_too_large_leaves_nothing(store: BundleStore, archive: bytes) -> None:
    with pytest.raises(BodyTooLarge):
        receive(store, archive, limit=500)
    assert leftovers(store) == []


@pytest.mark.parametrize("name", ["../escape", "/etc/escape", "code/../../escape"])
def test_paths_out_of_the_folder_are_refused(store: BundleStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidUpload):
        receive(store, tar_with((tarfile.TarInfo(name), b"x")))
    assert leftovers(store) == []
    assert not list(tmp_path.rglob("escape"))


def test_links_and_devices_are_refused(store: BundleStore) -> None:
    link = tarfile.TarInfo("code/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    device = tarfile.TarInfo("code/device")
    device.type = tarfile.CHRTYPE
    for hostile in (link, device):
        with pytest.raises(InvalidUpload):
            receive(store, tar_with((hostile, b"")))


def test_a_file_that_claims_more_than_came_is_refused(store: BundleStore) -> None:
    sparse = tarfile.TarInfo("code/huge")
    sparse.pax_headers = {
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "code/huge",
        "GNU.sparse.realsize": str(2**44),
    }  # fmt: skip
    with pytest.raises(InvalidUpload, match="no regular file"):
        receive(store, tar_with((sparse, b"0\n".ljust(512, b"\0"))))


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """As it lies in an archive, also of sizes that tarfile does not write."""
    info = tarfile.TarInfo(name)
    info.type = kind
    raw = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    raw[124:136] = (0xFF if size < 0 else 0x80).to_bytes(1) + (size % 256**11).to_bytes(11)
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


@pytest.mark.parametrize(
    "data",
    [
        header("good", 0) + header("bad", -512) + bytes(2048),
        header("long", 2**30, tarfile.GNUTYPE_LONGNAME) + b"a" * 512,
        header("pax", 2**30, tarfile.XHDTYPE) + b"a" * 512,
        header("pax", -512, tarfile.XHDTYPE) + b"a" * 512,
    ],
    ids=["less than nothing", "a name without end", "facts without end", "facts of less than nothing"],
)
def test_a_header_that_lies_about_sizes_is_refused(store: BundleStore, data: bytes) -> None:
    with pytest.raises(InvalidUpload, match="a header claims"):
        receive(store, data)
    assert leftovers(store) == []


@pytest.mark.parametrize(
    "facts", [{"size": "-512"}, {"path": "x\0y"}, {"mtime": "1e300"}, {"mtime": "nan"}], ids=str
)
def test_facts_that_make_no_sense_are_the_uploads_fault(store: BundleStore, facts: dict[str, str]) -> None:
    odd = tarfile.TarInfo("code/app.py")
    odd.pax_headers = facts
    with pytest.raises(InvalidUpload):
        receive(store, tar_with((odd, b"")))
    assert leftovers(store) == []


@pytest.mark.parametrize("name", ["a/" * 1500 + "b", "x" * 300], ids=["deep", "long"])
def test_names_that_no_file_can_have_are_the_uploads_fault(store: BundleStore, name: str) -> None:
    with pytest.raises(InvalidUpload):
        receive(store, tar_with((tarfile.TarInfo(name), b"")))
    assert leftovers(store) == []


def test_files_without_end_are_refused(store: BundleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_MOST_FILES", 100)
    same = tarfile.TarInfo("code/app.py")
    with pytest.raises(InvalidUpload, match="more than 100 files"):
        receive(store, tar_with(*[(same, b"")] * 101))
    assert leftovers(store) == []


def test_declarations_without_end_are_refused(store: BundleStore) -> None:
    with pytest.raises(InvalidUpload, match="more than"):
        receive(store, tar_with((tarfile.TarInfo(INSPECTION), b" " * (2**24 + 1))), limit=2**25)


@pytest.mark.parametrize("text", [b'{"error": "caf\xe9"}', b'{"x":' + b"[" * 100_000], ids=["text", "depth"])
def test_declarations_that_cannot_be_read_are_refused(store: BundleStore, text: bytes) -> None:
    with pytest.raises(InvalidUpload):
        receive(store, tar_with((tarfile.TarInfo(INSPECTION), text)))


def test_a_large_file_of_code_is_never_in_memory(store: BundleStore, archive: bytes) -> None:
    folder = store.upload_path(receive(store, archive))
    size_bytes = 64 * 2**20
    with (folder / "code" / "large.bin").open("wb") as file:
        file.truncate(size_bytes)
    tracemalloc.start()
    try:
        found = code_files(folder)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found["large.bin"] == hashlib.sha256(bytes(size_bytes)).hexdigest()
    assert peak_bytes < size_bytes / 8


def test_an_upload_without_declarations_is_refused(store: BundleStore) -> None:
    with pytest.raises(InvalidUpload, match=INSPECTION):
        receive(store, tar_with((tarfile.TarInfo("code/app.py"), b"x")))


@pytest.mark.parametrize("name", ["..", "x" * 64, "0" * 63, "../" + "0" * 61, "A" * 64])
def test_an_upload_is_found_by_nothing_but_its_digest(store: BundleStore, name: str) -> None:
    with pytest.raises(InvalidUpload):
        store.upload_path(name)


def test_packs_of_the_same_content_are_one_file(store: BundleStore, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(b"pack" * 1000)
    first, size = store.adopt_pack(tmp_path / "one", 4000)
    assert (store.adopt_pack(tmp_path / "two", 4000)[0], size) == (first, 4000)
    assert [p.name for p in store.packs.iterdir()] == [f"{first}.pack"]


def test_a_pack_that_is_no_file_of_its_own_is_not_taken(store: BundleStore, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "folder", "pipe", "none"):
        with pytest.raises(BuildFailed, match="no file"):
            store.adopt_pack(tmp_path / name, 2**30)
    assert leftovers(store) == []


def test_a_pack_that_is_longer_than_its_build_may_be_is_not_copied(
    store: BundleStore, tmp_path: Path
) -> None:
    holes = tmp_path / "holes"
    holes.touch()
    os.truncate(holes, 2**40)
    with pytest.raises(OSError, match="larger than") as caught:
        store.adopt_pack(holes, 10**9)
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="larger than"):
        store.adopt_pack(Path("/proc/meminfo"), 100)  # its length is told as 0
    assert leftovers(store) == []


def test_a_bundle_is_whole_or_not_there(store: BundleStore, archive: bytes) -> None:
    upload = store.upload_path(receive(store, archive))
    version = VersionId("0123456789abcdef")
    declaration = DECLARED.declarations[0]
    manifest = Manifest(version, FunctionId("shout.default"), declaration, "code", files=code_files(upload))
    assert store.manifest(version) is None
    store.publish(manifest, upload / "code")
    assert store.manifest(version) == manifest
    lacking = msgspec.structs.replace(manifest, pack="0" * 64)
    store.publish(lacking, upload / "code")
    assert store.manifest(version) is None, "a bundle whose pack is gone is no bundle"


class Mute:
    """An artifact store that does not answer."""

    def put(self, path: Path, pack: str) -> None:
        raise OSError("no route to it")

    def url(self, pack: str) -> str:
        return f"s3://bucket/{pack}.pack"

    def has(self, pack: str) -> bool:
        raise OSError("no route to it")


def test_who_cannot_build_again_trusts_an_artifact_store_that_does_not_answer(tmp_path: Path) -> None:
    store = BundleStore(tmp_path / "state", Mute())
    store.prepare()
    version, declaration = VersionId("0123456789abcdef"), DECLARED.declarations[0]
    manifest = Manifest(version, FunctionId("shout.default"), declaration, "skeleton", pack="0" * 64)
    store.publish(manifest, tmp_path)
    assert store.manifest(version) is None
    assert store.manifest(version, trusting=True) == manifest


def test_garbage_is_what_nothing_names(store: BundleStore, archive: bytes, tmp_path: Path) -> None:
    kept = receive(store, archive)
    (tmp_path / "pack").write_bytes(b"x")
    store.adopt_pack(tmp_path / "pack", 1)
    collect_all(store, set(), {kept})
    assert [p.name for p in store.uploads.iterdir()] == [kept]
    assert list(store.packs.iterdir()) == []


def test_a_start_removes_what_was_half_written(store: BundleStore) -> None:
    (store.packs / ".new-1").write_bytes(b"x")
    (store.bundles / ".new-2").mkdir()
    (store.incoming / "y.tar").write_bytes(b"x")
    store.prepare()
    assert [*store.packs.iterdir(), *store.bundles.iterdir(), *store.incoming.iterdir()] == []


def test_a_version_is_named_by_all_that_makes_it() -> None:
    declaration = DECLARED.declarations[0]
    environment = EnvironmentId("e")
    base = version_id(FunctionId("a.b"), "u", declaration, environment)
    assert base == version_id(FunctionId("a.b"), "u", msgspec.structs.replace(declaration), environment)
    others = {
        version_id(FunctionId("a.c"), "u", declaration, environment),
        version_id(FunctionId("a.b"), "v", declaration, environment),
        version_id(FunctionId("a.b"), "u", msgspec.structs.replace(declaration, env={"A": "1"}), environment),
        version_id(FunctionId("a.b"), "u", declaration, EnvironmentId("f")),
    }
    assert len(others | {base}) == 5


@pytest.mark.parametrize("damage", ["cut off", "other bytes"])
def test_a_pack_that_a_disk_has_spoilt_is_whole_again_when_it_is_built_again(
    store: BundleStore, tmp_path: Path, damage: str
) -> None:
    produced = tmp_path / "pack"
    produced.write_bytes(b"right" * 1000)
    name, size = store.adopt_pack(produced, 10**6)
    pack = store.pack_path(name)
    with pack.open("rb") as still_open:
        pack.chmod(0o644)
        pack.write_bytes(b"righ" if damage == "cut off" else b"wrong" * 1000)
        assert store.adopt_pack(produced, 10**6) == (name, size)
        assert pack.read_bytes() == b"right" * 1000
        assert still_open.read(4) in (b"righ", b"wron"), "who has it open keeps what it had"
    inode = pack.stat().st_ino
    store.adopt_pack(produced, 10**6)
    assert pack.stat().st_ino == inode, "the same file for all that map it"


def test_a_sparse_map_without_end_is_not_read(store: BundleStore) -> None:
    sparse = tarfile.TarInfo("code/huge")
    sparse.pax_headers = {
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "code/huge",
        "GNU.sparse.realsize": "1",
    }  # fmt: skip
    data = b"1000000000\n" + b"0\n" * 500_000
    tracemalloc.start()
    try:
        with pytest.raises(InvalidUpload, match="no regular file"):
            receive(store, tar_with((sparse, data)), limit=2**22)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 * 2**20
    with pytest.raises(InvalidUpload, match="no regular file"):
        receive(store, header("old", 0, tarfile.GNUTYPE_SPARSE) + bytes(1024))


def test_a_name_in_the_declarations_that_no_file_can_have_is_the_uploads_fault(store: BundleStore) -> None:
    text = msgspec.json.encode(msgspec.structs.replace(DECLARED, files=("x" * 300,)))
    with pytest.raises(InvalidUpload):
        receive(store, tar_with((tarfile.TarInfo(INSPECTION), text)))
    assert leftovers(store) == []


def test_an_upload_that_took_long_to_unpack_was_used_just_now(
    store: BundleStore, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract = store_module.extract_upload

    def slowly(source: Path, target: Path) -> None:
        extract(source, target)
        os.utime(target, (0, 0))

    monkeypatch.setattr(store_module, "extract_upload", slowly)
    folder = store.uploads / receive(store, archive)
    assert folder.stat().st_mtime > 1e9
