"""A spawned call as data: what is stored of it, and what people see."""

from __future__ import annotations

from typing import Literal, NewType

import msgspec

from glowplug.core.ids import FunctionId

CallId = NewType("CallId", str)
"""32 hex digits: when it was accepted, then random. Calls sort by age."""
CallState = Literal["waiting", "started", "done", "failed", "dead", "lost", "cancelled"]

DEAD_LETTERS: frozenset[CallState] = frozenset({"failed", "dead", "lost"})
"""`failed`: the answer is an error that trying again will not mend. `dead`: tried as often, or for as long,
as is allowed. `lost`: it may have run and may not run twice, and nobody knows how it ended."""
ENDED: frozenset[CallState] = DEAD_LETTERS | {"done", "cancelled"}


class CallError(msgspec.Struct, frozen=True):
    """An error's code and message (core.errors), and its HTTP status."""

    code: str
    message: str
    status: int = 500


class Callback(msgspec.Struct, frozen=True):
    """Where the result is posted once the call has ended. `due_s` is the next try, in epoch seconds."""

    url: str
    state: Literal["waiting", "delivered", "given_up"] = "waiting"
    attempts: int = 0
    due_s: float = 0.0
    error: str = ""


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One spawned call. Times are epoch seconds; `timeout_s` bounds one attempt, `deadline_s` all of them.

    `attempts` counts how often it may have run, `refusals` how often it was turned away before it could.
    """

    id: CallId
    function: FunctionId
    endpoint: str
    state: CallState = "waiting"
    idempotent: bool = False
    created_s: float
    due_s: float
    deadline_s: float
    ended_s: float | None = None
    attempts: int = 0
    refusals: int = 0
    timeout_s: float | None = None
    priority: int = 0
    content_type: str = ""
    accept: str = ""
    body_bytes: int = 0
    result_type: str = ""
    result_bytes: int = 0
    error: CallError | None = None
    callback: Callback | None = None
