"""Priority classes: how a request, or all requests of a function, stand back behind others.

A rank is an integer, the higher the sooner. 0 is no class: the request is of its function's.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal


class Priority(IntEnum):
    """Somebody at a screen, a batch of work that somebody waits for, or work that nobody waits for."""

    BACKGROUND = 1
    BATCH = 2
    INTERACTIVE = 3

    @property
    def label(self) -> str:
        return self.name.lower()


PriorityLabel = Literal["interactive", "batch", "background"]
AS_DECLARED = 0
"""The rank of a request that says nothing: its function's."""
LABELS = tuple(one.label for one in reversed(Priority))
NICE = {Priority.INTERACTIVE: 0, Priority.BATCH: 10, Priority.BACKGROUND: 19}
"""The kernel's weight of a function's processes: 1024, 110 and 15, to be read as shares of a busy core."""
BUILD_NICE = 10
"""At least this nice is who builds: a deploy must not slow down what is served."""
PASSED_OVER: dict[int, int] = {Priority.INTERACTIVE: 0, Priority.BATCH: 8, Priority.BACKGROUND: 32}
"""How often others may go before the oldest of a class that waits in the same line; the next turn is its own.
So nobody starves, and a class costs those above it at most one turn in nine or in 33."""
WORTH = {Priority.INTERACTIVE: 1.0, Priority.BATCH: 0.25, Priority.BACKGROUND: 0.0625}
"""What a second of waiting that a class is spared counts, when memory has to go."""


def parse_priority(text: str) -> int:
    """The rank in `text`: `interactive`, `batch` or `background`, or a rank as a number.

    Raises ValueError with the names that there are.
    """
    word = text.strip().lower()
    for one in Priority:
        if word in (one.label, str(int(one))):
            return one
    if word == str(AS_DECLARED):
        return AS_DECLARED
    raise ValueError(
        f"no priority is called {text[:40]!r}; there are {', '.join(LABELS)}, as numbers "
        f"{int(Priority.INTERACTIVE)} to {int(Priority.BACKGROUND)}, and {AS_DECLARED} for the function's own"
    )


_BY_LABEL = {one.label: one for one in Priority}


def rank_of(label: str) -> Priority:
    """The class that a declaration names. Raises ValueError naming those that exist."""
    try:
        return _BY_LABEL[label]
    except KeyError:
        raise ValueError(f"no priority is called {label!r}; there are {', '.join(LABELS)}") from None
