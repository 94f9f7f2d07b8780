"""Annotations of a user's functions."""

from __future__ import annotations

import typing
from typing import Any


def bare(wanted: Any) -> Any:
    """An annotation without what `Annotated` says beside it."""
    return typing.get_args(wanted)[0] if typing.get_origin(wanted) is typing.Annotated else wanted
