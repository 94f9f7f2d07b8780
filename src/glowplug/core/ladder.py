"""The readiness ladder: how near a function is to an answer."""

from __future__ import annotations

from enum import IntEnum


class Step(IntEnum):
    """LOCAL, IMPORTED and STAGED are facts about a place; PARKED and BUSY are states of an instance.

    A climb goes to the next step, or from IMPORTED to PARKED: a worker forked straight from the environment's
    zygote is the shortest way for a waiting request, and the only one for a function whose own zygote may not
    fork.
    """

    REMOTE = 0
    LOCAL = 1
    IMPORTED = 2
    STAGED = 3
    PARKED = 4
    BUSY = 5

    @property
    def label(self) -> str:
        return self.name.lower()


PHASES = (
    "queue", "environment", "fork", "import", "build", "fetch", "apply", "first_compute", "compute", "reply",
)  # fmt: skip
"""What a request's latency is made of, by the same names in Server-Timing, metrics, traces and benchmarks."""


def parse_step(text: str) -> Step:
    """The step called `text`. Raises ValueError naming the known ones."""
    try:
        return Step[text.upper()]
    except KeyError:
        raise ValueError(
            f"no step is called {text!r}; steps are {', '.join(s.label for s in Step)}"
        ) from None
