"""The function that workers run in: made where it is not there, named by what is in it."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urlsplit

import msgspec
import xxhash

from glowplug.distributed.aws_lambda.limits import check_zipped, runtime
from glowplug.distributed.aws_lambda.names import named
from glowplug.distributed.aws_lambda.package import HANDLER, Package
from glowplug.distributed.channels.blobs import Blobs

_ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
_MOST_AGE_S = 60
"""An event that waited longer belongs to a run that is over, or has replaced the worker."""


class Shape(msgspec.Struct, frozen=True):
    """What a function is given. `role` and `layers` are ARNs."""

    role: str
    memory_mib: int
    timeout_s: int
    files_mib: int
    layers: tuple[str, ...] = ()


def ensure(client: Any, package: Package, shape: Shape, blobs: Blobs, store: str) -> str:
    """The name of a function with this package and shape. One that is there already is taken: equal names
    are equal functions. It stays afterwards, and costs nothing while nobody calls it.

    Raises PlatformError, PackageTooLarge, ChannelError.
    """
    code = _Code(package, blobs, store)
    name = f"glowplug-{xxhash.xxh3_64_hexdigest(msgspec.json.encode((package.digest, shape)))}"
    with code, named(f"function {name}"):
        try:
            client.get_function_configuration(FunctionName=name)
        except client.exceptions.ResourceNotFoundException:
            _create(client, name, code, shape)
        # Lambda would call a worker that failed again, beside the one that replaces it. Each time: whoever
        # made the function may have ended before it came to this.
        client.put_function_event_invoke_config(
            FunctionName=name, MaximumRetryAttempts=0, MaximumEventAgeInSeconds=_MOST_AGE_S
        )
        client.get_waiter("function_active_v2").wait(FunctionName=name)
    return name


def _create(client: Any, name: str, code: _Code, shape: Shape) -> None:
    try:
        client.create_function(
            FunctionName=name,
            Runtime=runtime(),
            Handler=HANDLER,
            Role=shape.role,
            Code=code.bring(),
            MemorySize=shape.memory_mib,
            Timeout=shape.timeout_s,
            EphemeralStorage={"Size": shape.files_mib},
            Layers=list(shape.layers),
            Environment={"Variables": _ENVIRONMENT},
            Description="A worker of glowplug distributed",
        )
    except client.exceptions.ResourceConflictException:
        pass  # another run makes it right now


class _Code:
    """By way of S3 where the store is there: larger packages are allowed. Lambda copies it."""

    def __init__(self, package: Package, blobs: Blobs, store: str) -> None:
        self._package, self._blobs, self._where = package, blobs, urlsplit(store)
        self._key = ""

    def bring(self) -> dict[str, Any]:
        """Under a name of its own: another run may remove its copy meanwhile."""
        if self._where.scheme != "s3":
            check_zipped(len(self._package.content))
            return {"ZipFile": self._package.content}
        self._key = f"packages/{self._package.digest}-{secrets.token_hex(4)}.zip"
        self._blobs.put([(self._key, self._package.content)])
        key = "/".join(filter(None, (self._where.path.strip("/"), self._key)))
        return {"S3Bucket": self._where.netloc, "S3Key": key}

    def __enter__(self) -> None:
        """Nothing is there yet."""

    def __exit__(self, *_: object) -> None:
        if self._key:
            self._blobs.delete([self._key])
