"""What a request's time was spent on: the gateway's own share joined with what the worker stamped."""

from __future__ import annotations

from collections import deque

from glowplug.core.ladder import PHASES
from glowplug.core.status import RequestTrace

_WARM = "queue;dur=%.3f, compute;dur=%.3f, reply;dur=%.3f"
_BEFORE_COMPUTE = ("environment", "fork", "import", "build", "fetch", "apply")


def join_phases(total_s: float, queue_s: float, stamped: dict[str, float]) -> dict[str, float]:
    """Seconds by phase, in the order of core.ladder.PHASES, that add up to `total_s`.

    A request may reach a climb that is under way: the part of the climb that passed before the request came
    is taken off its earliest phases, for it is no part of this request's latency.
    """
    if len(stamped) == 1 and "compute" in stamped:  # as of every warm request
        queue_s = min(queue_s, total_s)
        compute_s = min(stamped["compute"], total_s - queue_s)
        return {"queue": queue_s, "compute": compute_s, "reply": total_s - queue_s - compute_s}
    phases = {"queue": queue_s, **stamped}
    excess_s = sum(phases.values()) - total_s
    for name in ("queue", *_BEFORE_COMPUTE, "first_compute", "compute") if excess_s > 0 else ():
        cut_s = min(excess_s, phases.get(name, 0.0))
        if cut_s > 0:
            phases[name] -= cut_s
            excess_s -= cut_s
    phases["reply"] = max(0.0, total_s - sum(phases.values()) + phases.get("reply", 0.0))
    return {name: phases[name] for name in PHASES if name in phases}


def origin_of(stamped: dict[str, float]) -> str:
    """The step a request started from, read from the climb it waited for, when the worker does not say."""
    if "import" in stamped:
        return "local"
    if "build" in stamped or "fetch" in stamped or "apply" in stamped:
        return "imported"
    return "staged" if "fork" in stamped else "parked"


def server_timing(phases: dict[str, float]) -> str:
    """The Server-Timing header: durations in milliseconds."""
    if len(phases) == 3 and "compute" in phases and "reply" in phases:
        queue_s, compute_s, reply_s = phases.values()
        return _WARM % (queue_s * 1000, compute_s * 1000, reply_s * 1000)
    return ", ".join([f"{name};dur={seconds * 1000:.3f}" for name, seconds in phases.items()])


class TraceRing:
    """The last `kept` traces."""

    def __init__(self, kept: int) -> None:
        self._traces: deque[RequestTrace] = deque(maxlen=max(1, kept))

    def add(self, trace: RequestTrace) -> None:
        self._traces.append(trace)

    def taken(self) -> list[RequestTrace]:
        """Returns all of them, and forgets them."""
        found = list(self._traces)
        self._traces.clear()
        return found

    def recent(self, function: str | None, limit: int) -> list[RequestTrace]:
        """The newest `limit`, oldest first."""
        found = [t for t in self._traces if function is None or t.function == function]
        return found[-limit:] if limit > 0 else []

    def find(self, request: int) -> RequestTrace | None:
        return next((t for t in reversed(self._traces) if t.request == request), None)
