"""Whole numbers on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter, Token, validators


def _whole(type_: Any, tokens: Sequence[Token]) -> int:
    """Cyclopts by itself rounds 1.5 to 2."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value} is not a whole number") from None


Whole = Annotated[int, Parameter(converter=_whole)]
Natural = Annotated[Whole, Parameter(validator=validators.Number(gte=0))]
Positive = Annotated[Whole, Parameter(validator=validators.Number(gte=1))]
