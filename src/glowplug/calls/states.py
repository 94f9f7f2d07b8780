"""What becomes of a call, purely: each function takes a record and returns the next one.

    waiting -> started -> done | failed | dead | lost | cancelled
       ^  |      |                  |      |      |
       |  |      +--(try again)     +------+------+--(retry, asked for)
       |  +--> dead | cancelled
       +------------------------------------------+

At least once for calls that are idempotent; at most once for others, which are written down as started before
they are sent and end as lost when nobody can say what became of them.
"""

from __future__ import annotations

import msgspec

from glowplug.core.calls import DEAD_LETTERS, ENDED, CallError, CallRecord, CallState
from glowplug.core.errors import CallNotRetriable
from glowplug.core.rng import Rng
from glowplug.core.settings import CallSettings
from glowplug.core.units import show_seconds

TRANSITIONS: frozenset[tuple[CallState, CallState]] = frozenset(
    {
        ("waiting", "started"), ("waiting", "dead"), ("waiting", "cancelled"),
        ("started", "waiting"), ("started", "done"), ("started", "failed"), ("started", "dead"),
        ("started", "lost"), ("started", "cancelled"),
        ("failed", "waiting"), ("dead", "waiting"), ("lost", "waiting"),
    }
)  # fmt: skip
_PASSING = frozenset({429, 502, 503, 504, 507})
"""Statuses of what may be otherwise in a while; 500 is among them when it is ours (code `internal`)."""
_LONGEST_RETRY_AFTER_S = 300.0


class Outcome(msgspec.Struct, frozen=True):
    """How one attempt ended. `ran` is False only when it surely never reached the function's code."""

    ran: bool
    error: CallError | None = None
    retry_after_s: float | None = None
    content_type: str = ""
    body: bytes = b""


def start(call: CallRecord, idempotent: bool, now_s: float) -> CallRecord:
    """An attempt begins, with the code of now. Without time left it does not; who is not waiting stays."""
    if call.state != "waiting":
        return call
    if call.deadline_s <= now_s:
        return expire(call, now_s)
    return msgspec.structs.replace(
        call, state="started", idempotent=idempotent, attempts=call.attempts + 1, error=None
    )


def after(call: CallRecord, outcome: Outcome, settings: CallSettings, now_s: float, rng: Rng) -> CallRecord:
    """An attempt ended."""
    if call.state != "started":
        return call
    error = outcome.error
    if error is None:
        return _ended(
            call, "done", None, now_s,
            result_type=outcome.content_type, result_bytes=len(outcome.body),
        )  # fmt: skip
    if not outcome.ran:
        call = msgspec.structs.replace(call, attempts=call.attempts - 1, refusals=call.refusals + 1)
    if _passes(error) and (call.idempotent or not outcome.ran):
        return _again(call, error, outcome.retry_after_s, settings, now_s, rng)
    return _ended(call, "lost" if error.code == "worker_died" else "failed", error, now_s)


def found_again(call: CallRecord, settings: CallSettings, now_s: float) -> CallRecord:
    """A server that starts finds a call of one that ended without a word."""
    if call.created_s > now_s:  # the wall clock was set back meanwhile
        back_s = call.created_s - now_s
        call = msgspec.structs.replace(
            call, created_s=now_s, due_s=call.due_s - back_s, deadline_s=call.deadline_s - back_s
        )
    soon_s = now_s + settings.max_backoff_s + _LONGEST_RETRY_AFTER_S
    if call.callback is not None and call.callback.due_s > soon_s:
        call = msgspec.structs.replace(call, callback=msgspec.structs.replace(call.callback, due_s=now_s))
    if call.state == "waiting":
        return call if call.due_s <= soon_s else msgspec.structs.replace(call, due_s=soon_s)
    if call.state != "started":
        return call
    if not call.idempotent:
        why = (
            "the server ended while it ran, and it may not run twice: look whether it was done, then retry it"
        )
        return _ended(call, "lost", CallError("call_lost", why, 502), now_s)
    if call.attempts >= settings.max_attempts:
        why = f"the server ended during each of its {call.attempts} attempts"
        return _ended(call, "dead", CallError("call_lost", why, 502), now_s)
    return msgspec.structs.replace(call, state="waiting", due_s=now_s)


def put_back(call: CallRecord) -> CallRecord:
    """It was taken up and not sent, for the server ends."""
    if call.state != "started":
        return call
    return msgspec.structs.replace(call, state="waiting", attempts=call.attempts - 1)


def cancel(call: CallRecord, now_s: float, running: bool = False) -> CallRecord:
    """A started call is cancelled by who runs it, with `running`. What has ended stays as it is."""
    if call.state != ("started" if running else "waiting"):
        return call
    return _ended(call, "cancelled", CallError("call_cancelled", "the call was cancelled", 410), now_s)


def expire(call: CallRecord, now_s: float) -> CallRecord:
    """A call that waits past its deadline is dead."""
    if call.state != "waiting" or call.deadline_s > now_s:
        return call
    why = f"it waited past its deadline of {show_seconds(call.deadline_s - call.created_s)}"
    if call.error is not None:
        why += f"; the last attempt: {call.error.message}"
    return _ended(call, "dead", CallError("deadline_passed", why, 504), now_s)


def retry(call: CallRecord, now_s: float, even_if_lost: bool = False) -> CallRecord:
    """A dead letter is sent once more, with the time it had at first. Raises CallNotRetriable."""
    if call.state not in DEAD_LETTERS:
        raise CallNotRetriable(
            f"call {call.id} is {call.state}: only failed, dead and lost calls are retried"
        )
    if call.state == "lost" and not even_if_lost:
        raise CallNotRetriable(
            f"call {call.id} is lost: it may have run. Retry it with `lost` (--lost) if it may run twice"
        )
    callback = call.callback and msgspec.structs.replace(call.callback, state="waiting", attempts=0, error="")
    return msgspec.structs.replace(
        call, state="waiting", due_s=now_s, deadline_s=now_s + call.deadline_s - call.created_s,
        created_s=now_s, ended_s=None, attempts=0, refusals=0, error=None, callback=callback,
    )  # fmt: skip


def callback_due_s(call: CallRecord) -> float | None:
    """When the result is to be posted; None while there is no result, or nobody wants it any more."""
    if call.state not in ENDED or call.callback is None or call.callback.state != "waiting":
        return None
    return call.callback.due_s


def after_callback(
    call: CallRecord, problem: str, final: bool, settings: CallSettings, now_s: float, rng: Rng
) -> CallRecord:
    """The result was posted. `problem` is empty when it was taken; `final` says that trying again will not
    help."""
    callback = call.callback
    if callback is None or callback_due_s(call) is None:
        return call
    attempts = callback.attempts + 1
    if not problem:
        now = msgspec.structs.replace(callback, state="delivered", attempts=attempts, error="")
    elif final or attempts >= settings.max_attempts:
        now = msgspec.structs.replace(callback, state="given_up", attempts=attempts, error=problem)
    else:
        due_s = now_s + backoff_s(attempts, settings, rng)
        now = msgspec.structs.replace(callback, attempts=attempts, due_s=due_s, error=problem)
    return msgspec.structs.replace(call, callback=now)


def expires_s(call: CallRecord, settings: CallSettings, now_s: float) -> float | None:
    """When it may be forgotten: not before it has ended and its result was posted, or could not be."""
    if call.ended_s is None or callback_due_s(call) is not None:
        return None
    kept_s = settings.dead_letters_kept_s if call.state in DEAD_LETTERS else settings.results_kept_s
    return max(call.ended_s, now_s) + kept_s


def keeps_arguments(call: CallRecord) -> bool:
    """Whether it may still run."""
    return call.state not in ("done", "cancelled")


def backoff_s(attempt: int, settings: CallSettings, rng: Rng) -> float:
    """Doubles from attempt to attempt, then spread over its upper half, so that what failed together does not
    come back together."""
    most_s = min(settings.max_backoff_s, settings.backoff_s * 2.0 ** min(attempt - 1, 30))
    return most_s * (0.5 + 0.5 * rng.random())


def _passes(error: CallError) -> bool:
    return error.status in _PASSING or error.code == "internal"


def _again(
    call: CallRecord,
    error: CallError,
    retry_after_s: float | None,
    settings: CallSettings,
    now_s: float,
    rng: Rng,
) -> CallRecord:
    if call.attempts >= settings.max_attempts:
        return _ended(call, "dead", error, now_s)
    delay_s = backoff_s(max(1, call.attempts + call.refusals), settings, rng)
    if retry_after_s is not None:
        delay_s = max(delay_s, min(retry_after_s, _LONGEST_RETRY_AFTER_S))
    if now_s + delay_s >= call.deadline_s:
        return _ended(call, "dead", error, now_s)
    return msgspec.structs.replace(call, state="waiting", due_s=now_s + delay_s, error=error)


def _ended(
    call: CallRecord, state: CallState, error: CallError | None, now_s: float, **facts: object
) -> CallRecord:
    callback = call.callback and msgspec.structs.replace(call.callback, due_s=now_s)
    return msgspec.structs.replace(call, state=state, error=error, ended_s=now_s, callback=callback, **facts)
