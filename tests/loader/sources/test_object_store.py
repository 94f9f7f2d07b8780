"""Objects by obstore: names, versions, credentials, and errors of ours in place of its own."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from glowplug.loader.errors import (
    RangeRefused,
    SourceChanged,
    SourceError,
    SourceMissing,
    SourceRefused,
    SourceUnavailable,
)
from glowplug.loader.sources import open_source
from glowplug.loader.sources.object_store import ObjectStoreSource, open_object_store
from glowplug.loader.sources.retrying import Retry
from glowplug.testing.source_suite import CONTENT, read
from tests.loader.children import in_child
from tests.loader.sources.clock import ManualClock

obstore = pytest.importorskip("obstore", reason="needs the stores extra")


@pytest.fixture
def memory() -> Any:
    store = obstore.store.MemoryStore()
    obstore.put(store, "net.pack", CONTENT)
    return store


def test_an_object_that_was_replaced_is_noticed(memory: Any) -> None:
    with closing(ObjectStoreSource(memory, "net.pack", "store")) as source:
        obstore.put(memory, "net.pack", CONTENT)
        with pytest.raises(SourceChanged, match=r"store: reading 10 bytes at 5: .*open it again"):
            read(source, 5, 10)


def test_an_object_that_is_gone_is_missing(memory: Any) -> None:
    with pytest.raises(SourceMissing, match=r"store: opening: .*check the name"):
        ObjectStoreSource(memory, "absent", "store")
    with closing(ObjectStoreSource(memory, "net.pack", "store")) as source:
        obstore.delete(memory, "net.pack")
        with pytest.raises(SourceMissing, match="reading 10 bytes at 5"):
            read(source, 5, 10)


def test_a_forked_child_is_told_that_it_cannot_read(memory: Any) -> None:
    with closing(ObjectStoreSource(memory, "net.pack", "store")) as source:
        wording = "SourceError: store: {}: this process was forked from one that had read from object stores"
        assert in_child(lambda: read(source, 5, 10)).startswith(wording.format("reading 10 bytes at 5"))
        found = in_child(lambda: ObjectStoreSource(memory, "net.pack", "store"))
        assert found.startswith(wording.format("opening"))
        assert read(source, 5, 10) == CONTENT[5:15]


def test_a_folder_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    store = obstore.store.LocalStore(tmp_path)
    with pytest.raises((SourceMissing, SourceUnavailable), match="opening"):
        ObjectStoreSource(store, "folder", "store")


def test_the_end_is_checked_before_anything_is_asked(memory: Any) -> None:
    source = ObjectStoreSource(memory, "net.pack", "store")
    source.close()
    with pytest.raises(RangeRefused, match="300001"):
        read(source, len(CONTENT), 1)


def test_an_option_that_makes_obstore_panic_is_refused() -> None:
    with pytest.raises(SourceRefused, match=r"s3://bucket: .*; check URL and options \(allow_http\)"):
        open_source("s3://bucket/net.pack", allow_http=True)


def test_a_panic_while_reading_is_no_answer(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        """As pyo3's, which cannot be imported."""

    def panic(*_: Any, **__: Any) -> None:
        raise PanicException("unreachable")

    with closing(ObjectStoreSource(memory, "net.pack", "store")) as source:
        monkeypatch.setattr(obstore, "get", panic)
        with pytest.raises(SourceError, match="store: reading 10 bytes at 5: obstore failed: unreachable"):
            read(source, 5, 10)


@pytest.mark.parametrize("url", ["s3://bucket", "gs://bucket/", "az://"])
def test_a_bucket_is_no_object(url: str) -> None:
    with pytest.raises(ValueError, match="names no object"):
        open_source(url)


def test_an_account_that_is_not_given_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_ACCOUNT_NAME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SourceRefused, match="Account must be specified; check URL and options"):
        open_source("az://container/net.pack")


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://bucket/net.pack", {"skip_signature": True, "region": "us-east-1"}),
        ("az://container/net.pack", {"account_name": "me", "skip_signature": True}),
    ],
)
def test_a_store_that_cannot_be_reached_is_unavailable(url: str, options: dict[str, Any]) -> None:
    import socket

    with socket.socket() as unused:
        # Bound and not listening: whoever connects is refused.
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(SourceUnavailable, match=f"{url}: opening failed 2 times"):
            open_object_store(
                url,
                retry=Retry(attempts=2),
                clock=ManualClock(),
                endpoint=endpoint,
                client_options={"allow_http": True},
                **options,
            )


def test_without_obstore_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(ImportError, match=r"pip install 'glowplug\[stores\]'"):
        open_source("s3://bucket/net.pack")
