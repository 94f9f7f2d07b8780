"""Why a request went where it went: what `glowplug explain` shows, read out of the journal."""

from __future__ import annotations

from typing import Literal

import msgspec

PlaceState = Literal[
    "resident", "loading", "could load", "has no room", "paused", "idle", "in use", "climbing", "new"
]  # fmt: skip
Action = Literal["send", "load", "run", "climb", "wait"]


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a request could have gone: a device, or a worker. Seconds are from the decision on, and
    estimates; None is never.

    `free_s` is when something could begin to compute there, `ready_s` when the model would be there, `run_s`
    what computing takes, and `finish_s` when the answer would come: the later of the first two, and the
    third. `evicts` are the functions whose models would have to go.
    """

    place: str
    state: PlaceState
    free_s: float | None = None
    ready_s: float | None = None
    run_s: float | None = None
    finish_s: float | None = None
    evicts: tuple[str, ...] = ()


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """`at_s` is since the request's arrival. `send` binds it to `place` in a batch of `requests`, `load`
    brings its model there; of a function on the node's own cores `run` sends it to a worker and `climb`
    starts one. `wait` stands for all looks up to the next decision: that of the first, and whenever another
    place became the best. `prompted_by` is the event at which it was decided."""

    at_s: float
    what: Action
    place: str
    prompted_by: str
    places: tuple[Place, ...]
    requests: int = 1


class Candidate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model that lay idle where room was needed. What keeping it spares is `rate_per_s` times `saved_s`
    seconds a second, for `held_bytes`; `score` is what its eviction policy makes of that. The least goes
    first."""

    function: str
    score: float
    rate_per_s: float
    saved_s: float
    held_bytes: int
    copies: int = 1


class Eviction(msgspec.Struct, frozen=True):
    """Room was made for the request's model on `place`."""

    at_s: float
    place: str
    evicted: tuple[Candidate, ...]
    spared: tuple[Candidate, ...]


class Happening(msgspec.Struct, frozen=True):
    at_s: float
    what: str


class Explanation(msgspec.Struct, frozen=True):
    """`arrived_s` is by the server's clock (epoch); `looks` is how often its policy was asked while it
    waited. `outcome` is `answered`, `failed`, an error's code, `under way`, or `cut off` by the end of its
    server. `warnings` say where this version of Glowplug decides otherwise than the one that wrote the
    journal."""

    request: int
    function: str
    policy: str
    arrived_s: float
    outcome: str
    latency_s: float | None
    looks: int
    decisions: tuple[Decision, ...]
    evictions: tuple[Eviction, ...]
    happenings: tuple[Happening, ...]
    warnings: tuple[str, ...] = ()
