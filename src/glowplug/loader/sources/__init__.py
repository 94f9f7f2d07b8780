"""Where the bytes of a pack come from. One file per source; `testing.source_suite` checks any of them."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Collection
from importlib import import_module
from typing import Any

from glowplug.loader.sources.base import Advice, WeightSource
from glowplug.loader.sources.file import FileSource

SOURCES = {
    "file": "glowplug.loader.sources.file:open_file",
    "http": "glowplug.loader.sources.http:open_http",
    "https": "glowplug.loader.sources.http:open_http",
    "s3": "glowplug.loader.sources.object_store:open_object_store",
    "gs": "glowplug.loader.sources.object_store:open_object_store",
    "az": "glowplug.loader.sources.object_store:open_object_store",
}

__all__ = ["SOURCES", "Advice", "FileSource", "WeightSource", "open_source"]

_FOR_TESTS = ("clock", "rng")
"""What openers take so that time and chance can be anyone's, which no message offers."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def open_source(url_or_path: str | os.PathLike[str], **options: Any) -> WeightSource:
    """Opens a path, or a URL by its scheme: file, http, https, s3, gs, az. What is remote is retried.

    `options` are those of the opener in `SOURCES`; a file takes `retry` too, which it has no use for, as who
    opens both need not ask which it is. Raises ValueError for an unknown scheme or option, OSError
    for a file, SourceError for what is remote, ImportError with a hint where a library is missing.
    """
    place = os.fspath(url_or_path)
    found = _SCHEME.match(place)
    scheme = found.group(1).lower() if found else "file"
    if scheme not in SOURCES:
        raise ValueError(f"{scheme}:// is no source; there are {', '.join(SOURCES)}, and paths")
    module, _, attribute = SOURCES[scheme].partition(":")
    opener = getattr(import_module(module), attribute)
    if scheme == "file":
        options.pop("retry", None)
    _require_known(options, opener, place)
    opened: WeightSource = opener(place, **options)
    return opened


def _require_known(options: Collection[str], opener: Callable[..., Any], place: str) -> None:
    if not options:
        return
    named = [one for one in inspect.signature(opener).parameters.values() if one.kind == one.KEYWORD_ONLY]
    takes_any = inspect.getfullargspec(opener).varkw is not None
    unknown = sorted(set(options) - {one.name for one in named})
    if unknown and not takes_any:
        known = ", ".join(one.name for one in named if one.name not in _FOR_TESTS)
        raise ValueError(f"{unknown[0]}= is no option for {_shown(place)}: there are {known}")


def _shown(place: str) -> str:
    """An address without its credentials, and without its query, which may be a signature."""
    from glowplug.loader.sources.urls import locate

    return locate(place).name if place.lower().startswith(("http://", "https://")) else place
