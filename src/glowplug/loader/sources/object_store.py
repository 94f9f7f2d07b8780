"""An object in S3, Google Cloud Storage, Azure, or any store that obstore has."""

from __future__ import annotations

import os
import random
from datetime import timedelta
from importlib import import_module
from typing import Any

from glowplug.loader.clock import Clock
from glowplug.loader.errors import (
    SourceChanged,
    SourceError,
    SourceMissing,
    SourceRefused,
    SourceUnavailable,
)  # fmt: skip
from glowplug.loader.sources.base import Advice, WeightSource, check_range, target
from glowplug.loader.sources.copying import copy
from glowplug.loader.sources.resuming import open_resuming
from glowplug.loader.sources.retrying import Retry

_MESSAGE_CHARACTERS = 300


class ObjectStoreSource:
    """The object `key` of an obstore `store`, as it is when this is made. Raises SourceError.

    An answer is held in memory of its own until it is whole, and then copied: `advice.parallel` times
    `advice.read_bytes` more than the caller's buffers.
    """

    advice = Advice(parallel=16, read_bytes=8 * 2**20)

    def __init__(self, store: Any, key: str, name: str) -> None:
        self.name = name
        self._obstore = _import()
        self._store = store
        self._key = key
        try:
            found = self._obstore.head(store, key)
        except Exception as error:
            raise self._failure(error, "opening") from error
        self.size: int = found["size"]
        self._etag: str | None = found["e_tag"]

    def read_into(self, buffer: bytearray | memoryview, offset: int, length: int) -> None:
        view = target(buffer, length)
        check_range(self.name, self.size, offset, length)
        if not length:
            return
        what = f"reading {length} bytes at {offset}"
        options: dict[str, object] = {"range": (offset, offset + length)}
        if self._etag is not None:
            options["if_match"] = self._etag
        try:
            found = self._obstore.get(self._store, self._key, options=options)
            came = memoryview(found.buffer())
        except Exception as error:
            raise self._failure(error, what) from error
        if found.meta["e_tag"] != self._etag or found.meta["size"] != self.size:
            raise SourceChanged(f"{self.name}: {what}: it was replaced since it was opened; open it again")
        if tuple(found.range) != (offset, offset + length) or came.nbytes != length:
            raise SourceUnavailable(
                f"{self.name}: {what}: the answer has {came.nbytes} bytes of the range {found.range}"
            )
        copy(view, came)

    def close(self) -> None:
        """The store's connections end with the last source of that store."""
        self._store = None

    def _failure(self, error: Exception, what: str) -> SourceError:
        said = f"{self.name}: {what}: {str(error).partition(chr(10))[0][:_MESSAGE_CHARACTERS]}"
        kinds = self._obstore.exceptions
        if isinstance(error, FileNotFoundError):
            return SourceMissing(f"{said}; check the name")
        if isinstance(error, (kinds.PermissionDeniedError, kinds.UnauthenticatedError)):
            return SourceRefused(f"{said}; check the credentials and what they may read")
        if isinstance(error, kinds.PreconditionError):
            return SourceChanged(f"{said}: it was replaced since it was opened; open it again")
        if isinstance(error, (kinds.BaseError, OSError)):
            return SourceUnavailable(said)
        raise error


def open_object_store(
    url: str,
    *,
    retry: Retry | None = None,
    clock: Clock | None = None,
    rng: random.Random | None = None,
    **options: Any,
) -> WeightSource:
    """Opens SCHEME://BUCKET/KEY, the key as it is written, and tries again as `retry` says.

    `options` are those of `obstore.store.from_url`, as `region`, `endpoint`, `access_key_id`,
    `skip_signature` or `credential_provider`; what they do not say comes from the environment, as the
    stores' own tools have it. Raises ImportError without obstore, ValueError for a URL
    without a key, SourceError.
    """
    obstore = _import()
    retry = retry or Retry()
    place, _, key = url.partition("://")[2].partition("/")
    if not key:
        raise ValueError(f"{url} names no object; write SCHEME://BUCKET/KEY")
    bucket = f"{url.partition('://')[0]}://{place}"
    # Options that are given here hide those of the environment, this one among them.
    plain = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")
    client = {"timeout": timedelta(seconds=retry.attempt_s), **({"allow_http": True} if plain else {})}
    client |= options.pop("client_options", {})
    # One place counts attempts and time: ours.
    once = {"max_retries": 0, "retry_timeout": timedelta(seconds=retry.attempt_s)}
    try:
        store = obstore.store.from_url(bucket, client_options=client, retry_config=once, **options)
    except obstore.exceptions.BaseError as error:
        raise SourceRefused(f"{bucket}: {str(error).partition(chr(10))[0]}; check URL and options") from error
    return open_resuming(url, lambda _: ObjectStoreSource(store, key, url), retry, clock=clock, rng=rng)


def _import() -> Any:
    try:
        import_module("obstore.store")
        return import_module("obstore")
    except ImportError as error:
        raise ImportError(
            "reading from object stores needs obstore: pip install 'glowplug[stores]'"
        ) from error
