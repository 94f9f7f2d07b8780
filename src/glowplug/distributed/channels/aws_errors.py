"""What AWS answers, as our errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore import exceptions

from glowplug.distributed.errors import (
    ChannelError,
    ChannelMissing,
    ChannelRefused,
    ChannelUnavailable,
    RunExists,
)

_REFUSED = {
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "AuthorizationError",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "MissingAuthenticationToken",
    "OptInRequired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_MISSING = {
    "AWS.SimpleQueueService.NonExistentQueue",
    "NotFound",
    "QueueDoesNotExist",
    "ResourceNotFoundException",
}
_TAKEN = {"QueueAlreadyExists", "QueueNameExists"}
_JUST_REMOVED = {"AWS.SimpleQueueService.QueueDeletedRecently", "QueueDeletedRecently"}
REMOVED_S = 60.0
"""A queue's name is free again so long after it went."""


@contextmanager
def named(what: str) -> Iterator[None]:
    """`what` is the beginning of the message."""
    try:
        yield
    except exceptions.ClientError as error:
        raise _of(what, error) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise ChannelRefused(f"{what}: {error}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
    except exceptions.NoRegionError as error:
        raise ChannelRefused(f"{what}: {error}: give `region`, or set AWS_REGION") from error
    except (exceptions.BotoCoreError, OSError) as error:
        raise ChannelUnavailable(f"{what}: {error}") from error


def _of(what: str, error: exceptions.ClientError) -> ChannelError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    said = f"{what}: {error}"
    if code in _REFUSED or status in (401, 403):
        return ChannelRefused(f"{said} Check the credentials and what they allow.")
    if code in _MISSING:
        return ChannelMissing(f"{said} The run is not open, or over.")
    if code in _TAKEN:
        return RunExists(f"{said} A run of this name is open: end it, or use another name.")
    if code in _JUST_REMOVED:
        return ChannelUnavailable(f"{said} The name is free again after {REMOVED_S:.0f} s.", REMOVED_S)
    if status >= 500 or "Throttl" in code or code == "RequestThrottled":
        return ChannelUnavailable(said, retry_after_s=1.0)
    return ChannelError(said)
