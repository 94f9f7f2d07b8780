"""Names in an experiment's options."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def check_names(experiment: str, options: Any, **known: Collection[str]) -> None:
    """Raises ValueError for a name in one of the options that `known` gives the possible names of."""
    for option, names in known.items():
        given = getattr(options, option)
        unknown = [each for each in ((given,) if isinstance(given, str) else given) if each not in names]
        if unknown:
            raise ValueError(f"{experiment} has no {option} {', '.join(unknown)}; it has {', '.join(names)}")
