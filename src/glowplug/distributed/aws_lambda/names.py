"""What Lambda answers, as our errors; and its client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from glowplug.core.errors import GlowplugError, InvalidArguments
from glowplug.distributed.errors import PlatformBusy, PlatformError, PlatformMissing, PlatformRefused

_REFUSED = ("AccessDenied", "ExpiredToken", "InvalidClientTokenId", "Signature", "UnrecognizedClient")
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
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        raise _of(what, error) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        said = f"{what}: {error}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
        raise PlatformRefused(said) from error
    except exceptions.NoRegionError as error:
        raise PlatformRefused(f"{what}: {error}: give --region, or set AWS_REGION") from error
    except exceptions.WaiterError as error:
        raise PlatformError(f"{what}: the function does not become active: {error}") from error
    except exceptions.BotoCoreError as error:
        raise PlatformBusy(f"{what}: {error}") from error


def _of(what: str, error: Any) -> GlowplugError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    said = f"{what}: {error}"
    if code.startswith(_REFUSED) or status in (401, 403):
        return PlatformRefused(f"{said} Check the credentials, the role, and what they allow.")
    if code == "ResourceNotFoundException":
        return PlatformMissing(f"{said} The function is not there, or in another region.")
    if code.startswith(_BUSY) or status in (429, 500, 502, 503, 504):
        return PlatformBusy(f"{said} Wait, or ask for more concurrent functions.", retry_after_s=1.0)
    return PlatformError(said)
