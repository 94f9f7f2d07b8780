"""S3 as its clients see it: moto's server, by obstore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from glowplug.loader.errors import SourceChanged, SourceMissing
from glowplug.loader.sources import WeightSource, open_source
from glowplug.testing.source_suite import CONTENT, SourceSuite, read
from tests.loader.sources.buckets import bucket_served

pytestmark = pytest.mark.broker

obstore = pytest.importorskip("obstore", reason="needs the stores extra")

KEY = "models/my net#1.pack"


@pytest.fixture(scope="module")
def served() -> Iterator[dict[str, Any]]:
    with bucket_served() as options:
        yield options


@pytest.fixture
def options(served: dict[str, Any]) -> dict[str, Any]:
    return dict(served)


@pytest.fixture
def bucket(options: dict[str, Any]) -> Any:
    store = obstore.store.from_url("s3://bucket", **options)
    obstore.put(store, KEY, CONTENT)
    return store


class TestS3(SourceSuite):
    @pytest.fixture
    def source(self, bucket: Any, options: dict[str, Any]) -> Iterator[WeightSource]:
        with closing(open_source(f"s3://bucket/{KEY}", **options)) as opened:
            yield opened


def test_an_object_that_is_overwritten_is_noticed(bucket: Any, options: dict[str, Any]) -> None:
    with closing(open_source(f"s3://bucket/{KEY}", **options)) as source:
        obstore.put(bucket, KEY, CONTENT[::-1])
        with pytest.raises(SourceChanged, match="open it again"):
            read(source, 5, 10)


def test_an_object_of_many_parts(bucket: Any, options: dict[str, Any]) -> None:
    content = CONTENT * 20
    obstore.put(bucket, "parts", content, use_multipart=True, chunk_size=5 * 2**20)
    with closing(open_source("s3://bucket/parts", **options)) as source:
        assert read(source, 5 * 2**20 - 10, 20) == content[5 * 2**20 - 10 : 5 * 2**20 + 10]


@pytest.mark.parametrize("url", ["s3://bucket/absent", "s3://no-such-bucket/net.pack"])
def test_what_is_not_there_is_missing(options: dict[str, Any], url: str) -> None:
    with pytest.raises(SourceMissing, match="check the name"):
        open_source(url, **options)


def test_credentials_come_from_the_environment(
    bucket: Any, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", options.pop("access_key_id"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", options.pop("secret_access_key"))
    monkeypatch.setenv("AWS_REGION", options.pop("region"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", options.pop("endpoint"))
    with closing(open_source(f"s3://bucket/{KEY}", **options)) as source:
        assert read(source, 0, 10) == CONTENT[:10]
