"""What Lambda answers, as our errors; and its client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.aws_answers import answered, checked_endpoint
from glowplug.distributed.errors import PlatformBusy, PlatformError, PlatformMissing, PlatformRefused

_BUSY = ("TooManyRequests", "Throttling", "ServiceException", "EC2Throttled", "ENILimitReached")
ATTEMPTS = 8


def lambda_client(endpoint: str | None, region: str | None) -> Any:
    """boto3's client. Calls that are throttled, or meet a server that fails, are made again, up to `ATTEMPTS`
    times at growing distances. Raises InvalidArguments without boto3, PlatformRefused without a region."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise InvalidArguments(
            f"Lambda needs boto3 ({error}): pip install 'glowplug[distributed]'"
        ) from error
    endpoint = checked_endpoint(endpoint)
    config = Config(
        connect_timeout=5,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        tcp_keepalive=True,
    )
    with named("connecting to Lambda"):
        return boto3.session.Session(region_name=region).client(
            "lambda", endpoint_url=endpoint, config=config
        )


@contextmanager
def named(what: str) -> Iterator[None]:
    """`what` is the beginning of the message."""
    from botocore.exceptions import WaiterError

    with answered(what, PlatformRefused, PlatformBusy, _told):
        try:
            yield
        except WaiterError as error:
            raise PlatformError(f"{what}: the function does not become active: {error}") from error


def _told(said: str, code: str, status: int) -> PlatformError:
    if code == "ResourceNotFoundException":
        return PlatformMissing(f"{said} The function is not there, or in another region.")
    if code.startswith(_BUSY) or status in (429, 500, 502, 503, 504):
        return PlatformBusy(f"{said} Wait, or ask for more concurrent functions.", retry_after_s=1.0)
    return PlatformError(said)
