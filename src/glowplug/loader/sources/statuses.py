"""What an HTTP status says about a read."""

from __future__ import annotations

from glowplug.loader.errors import (
    RangeRefused,
    SourceChanged,
    SourceError,
    SourceMissing,
    SourceRefused,
    SourceUnavailable,
)  # fmt: skip

_PASSING = {408, 425, 429}
"""Client errors that are nobody's fault, and over soon."""


def status_error(
    name: str, status: int, offset: int, length: int, *, retry_after_s: float = 0.0
) -> SourceError:
    """The error for a status that is none of success, redirection or information."""
    what = f"{name}: the store answered {status} for {length} bytes at {offset}"
    if status in (401, 403):
        return SourceRefused(f"{what}; check the credentials and what they may read")
    if status in (404, 410):
        return SourceMissing(f"{what}; check the name")
    if status == 412:
        return SourceChanged(f"{what}: it was replaced since it was opened; open it again")
    if status == 416:
        return RangeRefused(f"{what}: it has no such range; it is not the file that was expected")
    if status >= 500 or status in _PASSING:
        return SourceUnavailable(what, retry_after_s=retry_after_s)
    return SourceRefused(f"{what}; check the URL and the credentials")
