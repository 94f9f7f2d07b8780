"""An object in S3, Google Cloud Storage, Azure, or any store that obstore has."""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any, TypeVar

from glowplug.loader.clock import Clock
from glowplug.loader.errors import (
    ReadDeadline,
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
_SHORTEST_S = 0.001
_NEARLY = 0.99
"""Of the longest time a request may take: what is left of it when a first attempt begins."""

T = TypeVar("T")

_used_by: int | None = None
"""The process that asked obstore first: its threads answer, and a forked child has none of them."""


class ObjectStoreSource:
    """The object `key` of an obstore `store`, as it is when this is made. Raises ReadDeadline after
    `within_s`, SourceError.

    `bounded` gives the same store as one whose requests end within so many seconds; without it they end when
    they end. An answer is held in memory of its own until it is whole, and then copied: `advice.parallel`
    times `advice.read_bytes` more than the caller's buffers.
    """

    advice = Advice(parallel=16, read_bytes=8 * 2**20)

    def __init__(
        self,
        store: Any,
        key: str,
        name: str,
        *,
        bounded: Callable[[float], Any] | None = None,
        within_s: float | None = None,
    ) -> None:
        self.name = name
        self._obstore = _import()
        self._store = store
        self._bounded = bounded
        self._key = key
        found = self._asked("opening", within_s, lambda store: self._obstore.head(store, key))
        self.size: int = found["size"]
        self._etag: str | None = found["e_tag"]

    def read_into(self, buffer: bytearray | memoryview, offset: int, length: int) -> None:
        self.read_within(buffer, offset, length, None)

    def read_within(
        self, buffer: bytearray | memoryview, offset: int, length: int, within_s: float | None
    ) -> None:
        view = target(buffer, length)
        check_range(self.name, self.size, offset, length)
        if not length:
            return
        what = f"reading {length} bytes at {offset}"
        options: dict[str, object] = {"range": (offset, offset + length)}
        if self._etag is not None:
            options["if_match"] = self._etag

        def get(store: Any) -> tuple[Any, memoryview]:
            answer = self._obstore.get(store, self._key, options=options)
            return answer, memoryview(answer.buffer())

        found, came = self._asked(what, within_s, get)
        if found.meta["e_tag"] != self._etag or found.meta["size"] != self.size:
            raise SourceChanged(f"{self.name}: {what}: it was replaced since it was opened; open it again")
        if tuple(found.range) != (offset, offset + length) or came.nbytes != length:
            raise SourceUnavailable(
                f"{self.name}: {what}: the answer has {came.nbytes} bytes of the range {found.range}"
            )
        copy(view, came)

    def _asked(self, what: str, within_s: float | None, ask: Callable[[Any], T]) -> T:
        _require_own_threads(f"{self.name}: {what}")
        until_s = math.inf if within_s is None else time.monotonic() + within_s
        store = self._store
        if within_s is not None and self._bounded is not None:
            store = self._bounded(within_s)
        try:
            return ask(store)
        except BaseException as error:
            if _is_panic(error):
                raise SourceError(f"{self.name}: {what}: obstore failed: {_first_line(error)}") from error
            if not isinstance(error, Exception):
                raise
            if isinstance(error, self._obstore.exceptions.BaseError) and time.monotonic() >= until_s:
                raise ReadDeadline(f"{self.name}: {what}: it took more than {within_s:g} s") from error
            raise self._failure(error, what) from error

    def close(self) -> None:
        """The store's connections end with the last source of that store."""
        self._store = self._bounded = None

    def _failure(self, error: Exception, what: str) -> SourceError:
        said = f"{self.name}: {what}: {_first_line(error)}"
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
    stores' own tools have it. A request ends within `attempt_s` and the time that is left of `deadline_s`; a
    `timeout` among the `client_options` may be shorter. Raises ImportError without obstore, ValueError for a
    URL without a key, SourceError.
    """
    obstore = _import()
    retry = retry or Retry()
    place, _, key = url.partition("://")[2].partition("/")
    if not key:
        raise ValueError(f"{url} names no object; write SCHEME://BUCKET/KEY")
    bucket = f"{url.partition('://')[0]}://{place}"
    # Options that are given here hide those of the environment, this one among them.
    plain = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")
    client = {**({"allow_http": True} if plain else {}), **options.pop("client_options", {})}
    given = client.pop("timeout", None)
    longest_s = min(retry.attempt_s, retry.deadline_s)

    def connected(within_s: float) -> Any:
        """The store; a request that takes longer is given up."""
        limit = timedelta(seconds=max(within_s, _SHORTEST_S))
        if isinstance(given, timedelta):
            limit = min(given, limit)
        # One place counts attempts and time: ours.
        once = {"max_retries": 0, "retry_timeout": limit}
        try:
            return obstore.store.from_url(
                bucket, client_options={**client, "timeout": limit}, retry_config=once, **options
            )
        except BaseException as error:
            if not _is_panic(error) and not isinstance(error, obstore.exceptions.BaseError):
                raise
            names = f" ({', '.join(options)})" if options else ""
            said = f"{bucket}: {_first_line(error)}; check URL and options{names}"
            raise SourceRefused(said) from error

    store = connected(longest_s)

    def bounded(within_s: float) -> Any:
        # Another limit needs connections of its own: only the last attempts have one.
        return store if within_s >= _NEARLY * longest_s else connected(within_s)

    def opener(within_s: float) -> WeightSource:
        return ObjectStoreSource(store, key, url, bounded=bounded, within_s=within_s)

    return open_resuming(url, opener, retry, clock=clock, rng=rng)


def _first_line(error: BaseException) -> str:
    return str(error).partition(chr(10))[0][:_MESSAGE_CHARACTERS]


def _is_panic(error: BaseException) -> bool:
    """Whether Rust code gave up, as for an option of a kind that it did not expect: this is no Exception."""
    return type(error).__name__ == "PanicException"


def _require_own_threads(what: str) -> None:
    """Raises SourceError in a process that would wait for ever."""
    global _used_by
    _used_by = _used_by or os.getpid()
    if _used_by != os.getpid():
        raise SourceError(
            f"{what}: this process was forked from one that had read from object stores, and obstore does "
            "not survive that; fork before the first read, or start a new process"
        )


def _import() -> Any:
    try:
        import_module("obstore.store")
        return import_module("obstore")
    except ImportError as error:
        raise ImportError(
            "reading from object stores needs obstore: pip install 'glowplug[stores]'"
        ) from error
