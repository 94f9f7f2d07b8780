"""What goes wrong with a call to AWS, as errors of whoever calls: a channel's, or a platform's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from glowplug.core.errors import GlowplugError, InvalidArguments

_REFUSED = (
    "AccessDenied",
    "AuthFailure",
    "AuthorizationError",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "MissingAuthenticationToken",
    "OptInRequired",
    "Signature",
    "UnrecognizedClient",
)
"""How the codes of answers begin that are about who asks."""


@contextmanager
def answered(
    what: str,
    refused: type[GlowplugError],
    unavailable: type[GlowplugError],
    told: Callable[[str, str, int], GlowplugError],
) -> Iterator[None]:
    """`what` begins the message. `told` makes an error of a message, a code and a status: what the service
    answers about anything but who asks."""
    from botocore import exceptions, parsers

    try:
        yield
    except exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
        said = f"{what}: {error}"
        if code.startswith(_REFUSED) or status in (401, 403):
            raise refused(f"{said} Check the credentials and what they allow.") from error
        raise told(said, code, status) from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        said = f"{what}: {error}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
        raise refused(said) from error
    except exceptions.NoRegionError as error:
        raise refused(f"{what}: {error}: give a region, or set AWS_REGION") from error
    except (exceptions.BotoCoreError, parsers.ResponseParserError, OSError) as error:
        raise unavailable(f"{what}: {error}") from error
    except ValueError as error:
        if not str(error).startswith("Invalid endpoint"):
            raise
        raise InvalidArguments(f"{what}: {error}", "endpoint") from error


def checked_endpoint(endpoint: str | None) -> str | None:
    """Raises InvalidArguments for what is no address of a server."""
    if endpoint is None:
        return None
    try:
        parts = urlsplit(endpoint)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except (ValueError, TypeError, AttributeError):
        is_address = False
    if not is_address:
        raise InvalidArguments(
            f"endpoint {endpoint!r} is no address such as http://localhost:4566", "endpoint"
        )
    return endpoint
