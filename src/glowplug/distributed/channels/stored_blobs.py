"""Objects in S3, any store that obstore has, or a local folder."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import obstore
from obstore.store import LocalStore, from_url

from glowplug.distributed.aws_answers import checked_endpoint
from glowplug.distributed.channels.blobs import Range
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.channels.pace import FIRST_S
from glowplug.distributed.errors import ChannelError, ChannelMissing, ChannelRefused, ChannelUnavailable

Made = TypeVar("Made")

PARALLEL = 16
_ATTEMPT_S = 30.0
_GIVE_UP_S = 60.0
_MESSAGE_CHARACTERS = 300
_DELETED = 1000
"""Keys that one call deletes."""
_FILE = "file://"
_FOLDER_LOOK_S = 0.003
_UNFINISHED = "*#[0-9]*"
_NO_SUCH_RANGE = ("InvalidRange", "416", "range was invalid")


class Stored(NamedTuple):
    """An object, and when it was written last, by the store's clock."""

    key: str
    changed_s: float


class StoredBlobs:
    """`blobs.Blobs` at `url`, SCHEME://BUCKET/PREFIX or file:///FOLDER, which must be there.

    `options` are obstore's (`region`, `endpoint`, ...); what they do not say, credentials above all, comes
    from the environment, as the stores' own tools have it. obstore repeats what fails for `_GIVE_UP_S`.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self.meter = Meter()
        self.url = url
        self._folder = Path(url.removeprefix(_FILE)) if url.startswith(_FILE) else None
        self.looks_are_calls = self._folder is None
        self.look_again_s = FIRST_S if self.looks_are_calls else _FOLDER_LOOK_S
        self._given = options
        with self._named("opening"):
            try:
                self._store = _bucket(url, options) if self._folder is None else _local(self._folder)
            except ValueError as error:
                raise ChannelError(
                    f"{url}: {error}: a store is SCHEME://BUCKET/PREFIX, or file:///FOLDER"
                ) from error
        self._pool = ThreadPoolExecutor(PARALLEL)

    def put(self, blobs: Sequence[tuple[str, bytes]]) -> None:
        self._beside([partial(self._put, key, content) for key, content in blobs])

    def create(self, key: str, content: bytes) -> bool:
        self.meter.put(len(content))
        with self._named(f"creating {key}"):
            try:
                obstore.put(self._store, key, content, mode="create")
            except obstore.exceptions.AlreadyExistsError:
                return False
        return True

    def glance(self, keys: Sequence[str]) -> set[str]:
        """In a folder one system call tells each, some microseconds in place of a read that fails."""
        if self._folder is None:
            return set(keys)
        return {key for key in keys if os.access(f"{self._folder}/{key}", os.F_OK)}

    def get(self, ranges: Sequence[Range]) -> builtins.list[bytes | None]:
        return self._beside([partial(self._get, wanted) for wanted in ranges])

    def list(self, prefix: str) -> list[str]:
        with self._named(f"listing {prefix}"):
            found = [item["path"] for page in obstore.list(self._store, prefix) for item in page]
        self.meter.lists += max(1, -(-len(found) // _DELETED))
        return found

    def stored(self) -> builtins.list[Stored]:
        """All that is there."""
        with self._named("listing"):
            return [
                Stored(item["path"], item["last_modified"].timestamp())
                for page in obstore.list(self._store)
                for item in page
            ]

    def delete(self, keys: Sequence[str]) -> None:
        for first in range(0, len(keys), _DELETED):
            part = list(keys[first : first + _DELETED])
            self.meter.blob_deletes += len(part)
            with self._named(f"deleting {part[0]}"):
                try:
                    obstore.delete(self._store, part)
                except FileNotFoundError:
                    # A folder stops at the first that is not there.
                    for key in part:
                        self._delete_one(key)

    def clear(self, prefix: str, but: str = "") -> None:
        """A store takes an object whole; a folder's file has another name first, which no listing shows."""
        self.delete([key for key in self.list(prefix) if key != but])
        if self._folder is not None:
            for path in list((self._folder / prefix).rglob(_UNFINISHED)):
                path.unlink(missing_ok=True)
                _remove_empty(path.parent, self._folder)

    def options(self) -> dict[str, object]:
        return {"url": self.url, **self._given}

    def close(self) -> None:
        self._pool.shutdown(wait=False)

    def _put(self, key: str, content: bytes) -> None:
        self.meter.put(len(content))
        with self._named(f"writing {key}"):
            obstore.put(self._store, key, content, use_multipart=False)

    def _get(self, wanted: Range) -> bytes | None:
        where = (wanted.start, wanted.start + wanted.length)
        with self._named(f"reading {wanted.key}"):
            try:
                content = bytes(obstore.get(self._store, wanted.key, options={"range": where}).buffer())
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                self.meter.get(None)
                return None
            except obstore.exceptions.GenericError as error:
                # No store gives a range of an object that is empty.
                if not any(said in str(error) for said in _NO_SUCH_RANGE):
                    raise
                content = b""
        self.meter.get(len(content))
        return content

    def _delete_one(self, key: str) -> None:
        try:
            obstore.delete(self._store, key)
        except FileNotFoundError:
            pass

    def _beside(self, work: Sequence[Callable[[], Made]]) -> builtins.list[Made]:
        if len(work) == 1:
            return [work[0]()]
        return list(self._pool.map(lambda one: one(), work))

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        try:
            yield
        except (obstore.exceptions.BaseError, OSError) as error:
            raise self._failure(error, what) from error

    def _failure(self, error: Exception, what: str) -> ChannelError:
        said = f"{self.url}: {what}: {str(error).partition(chr(10))[0][:_MESSAGE_CHARACTERS]}"
        kinds = obstore.exceptions
        if isinstance(error, (kinds.PermissionDeniedError, kinds.UnauthenticatedError)):
            return ChannelRefused(f"{said}; check the credentials and what they allow")
        if isinstance(error, FileNotFoundError) or "NoSuchBucket" in str(error):
            return ChannelMissing(f"{said}; make the bucket or folder first, or check its name")
        if isinstance(error, (kinds.UnknownConfigurationKeyError, kinds.NotSupportedError)):
            return ChannelError(f"{said}; check URL and options")
        return ChannelUnavailable(said)


def _local(path: Path) -> LocalStore:
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is not a folder")
    return LocalStore(path, automatic_cleanup=True)


def _remove_empty(folder: Path, base: Path) -> None:
    while folder != base and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _bucket(url: str, options: dict[str, Any]) -> Any:
    # Options that are given here hide those of the environment, this one among them.
    endpoint = checked_endpoint(options.get("endpoint") or None) or os.environ.get("AWS_ENDPOINT_URL", "")
    client: dict[str, Any] = {
        "timeout": timedelta(seconds=_ATTEMPT_S),
        "connect_timeout": timedelta(seconds=5),
    }
    if endpoint.startswith("http://"):
        client["allow_http"] = True
    retries: dict[str, Any] = {"max_retries": 10, "retry_timeout": timedelta(seconds=_GIVE_UP_S)}
    every: dict[str, Any] = {"client_options": client, "retry_config": retries, **options}
    return from_url(url, **every)
