"""How many requests one worker is given at once.

A worker runs `target_concurrency` of them. The others wait in its socket, so that it never waits for a
round trip to the sender. The price: a request that waits there can go to no other worker, and no other
request can overtake it. So what bounds their number is the time that they wait.
"""

from __future__ import annotations

from glowplug.core.specs import BundleFacts, Declaration

MOST_SLOTS = 192
"""Lent at most. The controller may send a quarter more."""
MOST_IN_ONE = MOST_SLOTS + MOST_SLOTS // 4
"""What a connection to a worker has to take."""
_HIDDEN_S = 0.005
"""So many seconds of work in the socket hide any round trip and are a short wait."""
_PRESSED_S = 0.05
"""So many seconds of work may wait there when more requests come: about what a climb takes. Further
requests wait in the queue, where another worker may still take them."""
_LONG_S = 0.05
"""From here on a round trip is lost in the request's own time."""
_LEAST_PATIENCE_S = 0.1
_OVERDUE = 4
OVERDUE_SHARE = 0.25
"""Of what was expected: what is overdue is believed to take so much more."""
_KEPT_APART_BELOW = 8
"""Workers with fewer slots are taken back from their gateway while a queue waits, see `is_shared`."""


def least_slots(declaration: Declaration, facts: BundleFacts | None) -> int:
    """As many as may run together; for batches twice as many, since the next batch gathers while one runs."""
    batch = _largest_batch(declaration, facts)
    return min(MOST_SLOTS, max(declaration.target_concurrency, 2 * batch if batch > 1 else 1))


def at_once(declaration: Declaration, facts: BundleFacts | None) -> int:
    """Requests that may run in one worker at the same time, be it as one batch."""
    return max(declaration.target_concurrency, _largest_batch(declaration, facts))


def slots(run_s: float | None, concurrency: int, least: int) -> int:
    """How many requests may be in one worker when there is no queue.

    `run_s` is the measured cost of one, None until there is one; `concurrency` how many run at once.
    """
    return max(least, _depth(run_s, _HIDDEN_S, concurrency))


def most_slots(run_s: float | None, concurrency: int, least: int) -> int:
    """The same while requests queue: more may wait in the worker, as long as that wait is short."""
    return max(least, _depth(run_s, _PRESSED_S, concurrency))


def patience_s(run_s: float | None) -> float:
    """How long a worker may make no progress before no more requests are sent there."""
    return max(_LEAST_PATIENCE_S, _OVERDUE * (run_s or 0.0))


def still_s(left_s: float, expected_s: float) -> float:
    """What that was expected to take `expected_s`, and then to be over in `left_s`, may still take."""
    return left_s if left_s > 0 else expected_s * OVERDUE_SHARE


def overflow(lent: int, gateways: int = 1) -> int:
    """How many requests the controller may send to a worker beyond the slots that it has lent, so that its
    queue moves while a gateway keeps the worker busy. With several gateways it is at least one: a waiting
    request may have come to a gateway that was lent nothing, while the others keep the worker."""
    return lent // 4 or int(gateways > 1)


def is_shared(most: int) -> bool:
    """Whether a worker stays lent while requests queue for it. Short requests pass faster under a lease, and
    the queue gets its share beside it. For long ones the order counts and a decision's cost does not: the
    controller takes the worker back, slot by slot, and sends first what came first, wherever one is free
    first."""
    return most >= _KEPT_APART_BELOW


def _largest_batch(declaration: Declaration, facts: BundleFacts | None) -> int:
    endpoints = (facts.endpoints if facts is not None else ()) or declaration.endpoints
    return max((endpoint.max_batch for endpoint in endpoints), default=1)


def _depth(run_s: float | None, work_s: float, concurrency: int) -> int:
    if run_s is None or run_s >= _LONG_S:
        return 1
    return max(2, min(MOST_SLOTS, int(concurrency * work_s / max(run_s, 1e-6))))
