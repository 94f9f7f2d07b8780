"""What becomes of a call, event by event."""

from __future__ import annotations

import msgspec
import pytest

from glowplug.calls import states
from glowplug.calls.states import Outcome
from glowplug.core.calls import Callback, CallError, CallId, CallRecord
from glowplug.core.errors import BY_CODE, CallNotRetriable
from glowplug.core.ids import FunctionId
from glowplug.core.rng import rng_for
from glowplug.core.settings import CallSettings

SETTINGS = CallSettings(max_attempts=3, backoff_s=1.0, max_backoff_s=8.0)
NOW_S = 1000.0


def accepted(**facts: object) -> CallRecord:
    given = {
        "id": CallId("00" * 16), "function": FunctionId("f.default"), "endpoint": "f", "created_s": NOW_S,
        "due_s": NOW_S, "deadline_s": NOW_S + 500, "idempotent": True,
    }  # fmt: skip
    return CallRecord(**{**given, **facts})  # type: ignore[arg-type]


def started(**facts: object) -> CallRecord:
    call = accepted(**facts)
    return states.start(call, call.idempotent, NOW_S)


def after(call: CallRecord, outcome: Outcome, now_s: float = NOW_S, seed: int = 0) -> CallRecord:
    return states.after(call, outcome, SETTINGS, now_s, rng_for(seed, 1))


def failure(code: str, ran: bool = True, retry_after_s: float | None = None) -> Outcome:
    return Outcome(ran, CallError(code, f"because {code}", BY_CODE[code].status), retry_after_s)


def test_an_answer_ends_it() -> None:
    call = after(
        started(callback=Callback("http://x/")), Outcome(True, None, None, "text/plain", b"hello"), 1001
    )
    assert (call.state, call.ended_s, call.result_type, call.result_bytes) == ("done", 1001, "text/plain", 5)
    assert states.callback_due_s(call) == 1001
    assert states.expires_s(call, SETTINGS, 1001) is None
    assert not states.keeps_arguments(call)


@pytest.mark.parametrize(
    "code", ["worker_died", "deadline_passed", "overloaded", "queue_full", "internal", "no_space"]
)
def test_what_may_pass_is_tried_again_when_it_may_run_twice(code: str) -> None:
    call = after(started(), failure(code))
    assert (call.state, call.attempts) == ("waiting", 1)
    assert NOW_S + 0.5 <= call.due_s <= NOW_S + 1
    assert call.error is not None
    assert call.error.code == code


@pytest.mark.parametrize(
    "code",
    [
        "function_failed",
        "invalid_arguments",
        "unknown_function",
        "unknown_endpoint",
        "build_failed",
        "cancelled",
    ],
)
@pytest.mark.parametrize("idempotent", [False, True])
def test_what_will_not_pass_ends_it(code: str, idempotent: bool) -> None:
    call = after(started(idempotent=idempotent), failure(code))
    assert call.state == "failed"
    assert states.keeps_arguments(call)
    assert states.expires_s(call, SETTINGS, NOW_S) == NOW_S + SETTINGS.dead_letters_kept_s


@pytest.mark.parametrize(
    ("code", "ends"), [("worker_died", "lost"), ("deadline_passed", "failed"), ("overloaded", "failed")]
)
def test_what_may_have_run_is_not_sent_twice(code: str, ends: str) -> None:
    assert after(started(idempotent=False), failure(code)).state == ends


def test_what_surely_did_not_run_is_sent_again_and_costs_no_attempt() -> None:
    call = started(idempotent=False)
    for refused in range(1, 6):
        call = after(call, failure("queue_full", ran=False))
        assert (call.state, call.attempts, call.refusals) == ("waiting", 0, refused)
        call = states.start(call, False, NOW_S)


def test_attempts_are_counted_and_their_pauses_double() -> None:
    call = started()
    for longest_s in (1.0, 2.0):
        call = after(call, failure("worker_died"))
        assert call.due_s - NOW_S == pytest.approx(longest_s * 0.75, rel=0.34)
        call = states.start(call, True, NOW_S)
    call = after(call, failure("worker_died"))
    assert (call.state, call.attempts) == ("dead", 3)


def test_a_retry_waits_as_long_as_it_was_told() -> None:
    assert after(started(), failure("overloaded", retry_after_s=20.0)).due_s == NOW_S + 20
    assert after(started(), failure("overloaded", retry_after_s=1e6)).due_s == NOW_S + 300


def test_pauses_are_spread_and_repeat_with_their_seed() -> None:
    pauses = [after(started(), failure("worker_died"), seed=seed).due_s for seed in range(20)]
    assert len(set(pauses)) == 20
    assert pauses == [after(started(), failure("worker_died"), seed=seed).due_s for seed in range(20)]


def test_nothing_is_tried_past_the_deadline() -> None:
    call = after(started(deadline_s=NOW_S + 0.4), failure("worker_died"))
    assert call.state == "dead"
    assert states.start(accepted(deadline_s=NOW_S), True, NOW_S).state == "dead"
    waiting = after(started(), failure("worker_died"))
    expired = states.expire(waiting, NOW_S + 500)
    assert expired.error is not None
    assert (expired.state, expired.error.code) == ("dead", "deadline_passed")
    assert "because worker_died" in expired.error.message
    assert states.expire(waiting, NOW_S + 499) is waiting


def test_the_code_that_runs_says_whether_it_may_run_twice() -> None:
    call = states.start(accepted(idempotent=True), False, NOW_S)
    assert after(call, failure("worker_died")).state == "lost"


def test_a_server_that_was_killed_finds_its_calls() -> None:
    found = states.found_again(started(), SETTINGS, 1010)
    assert (found.state, found.due_s, found.attempts) == ("waiting", 1010, 1)
    lost = states.found_again(started(idempotent=False), SETTINGS, 1010)
    assert lost.error is not None
    assert (lost.state, lost.error.code, lost.ended_s) == ("lost", "call_lost", 1010)
    waiting = accepted(idempotent=False)
    assert states.found_again(waiting, SETTINGS, 1010) == waiting


def test_a_call_that_kills_the_server_is_not_tried_for_ever() -> None:
    call = accepted()
    for _ in range(SETTINGS.max_attempts):
        assert call.state == "waiting"
        call = states.found_again(states.start(call, True, NOW_S), SETTINGS, NOW_S)
    assert call.state == "dead"


def test_a_clock_set_back_by_an_hour_delays_nothing() -> None:
    call = after(started(), failure("worker_died"))
    found = states.found_again(call, SETTINGS, NOW_S - 3600)
    assert found.due_s <= NOW_S - 3600 + 1
    assert found.deadline_s == NOW_S - 3600 + 500
    posted = after(started(callback=Callback("http://x/")), Outcome(True))
    posted = msgspec.structs.replace(posted, created_s=NOW_S - 9000)
    due_s = states.callback_due_s(states.found_again(posted, SETTINGS, NOW_S - 3600))
    assert due_s is not None
    assert due_s <= NOW_S - 3600


def test_cancelling() -> None:
    assert states.cancel(accepted(), NOW_S).state == "cancelled"
    running = started()
    assert states.cancel(running, NOW_S) is running
    assert states.cancel(running, NOW_S, running=True).state == "cancelled"
    done = after(running, Outcome(True))
    assert states.cancel(done, NOW_S) is done
    assert states.cancel(done, NOW_S, running=True) is done


def test_a_dead_letter_is_retried_when_somebody_asks() -> None:
    failed = after(started(callback=Callback("http://x/", attempts=2)), failure("function_failed"))
    again = states.retry(failed, 2000)
    assert (again.state, again.attempts, again.error, again.due_s) == ("waiting", 0, None, 2000)
    assert again.deadline_s == 2500
    assert again.callback == Callback("http://x/", due_s=NOW_S)
    lost = after(started(idempotent=False), failure("worker_died"))
    with pytest.raises(CallNotRetriable, match="may have run"):
        states.retry(lost, 2000)
    assert states.retry(lost, 2000, even_if_lost=True).state == "waiting"
    with pytest.raises(CallNotRetriable, match="is waiting"):
        states.retry(again, 2000)


def test_what_was_taken_up_and_not_sent_costs_nothing() -> None:
    assert states.put_back(started()) == accepted()


def test_a_callback_is_tried_until_it_is_taken_or_given_up() -> None:
    ended = after(started(callback=Callback("http://x/")), Outcome(True))

    def posted(call: CallRecord, problem: str, final: bool = False) -> CallRecord:
        return states.after_callback(call, problem, final, SETTINGS, NOW_S, rng_for(0, 0))

    taken = posted(ended, "")
    assert taken.callback is not None
    assert (taken.callback.state, states.callback_due_s(taken)) == ("delivered", None)
    assert states.expires_s(taken, SETTINGS, NOW_S) == NOW_S + 3600
    assert posted(taken, "again") is taken
    call = ended
    for _ in range(SETTINGS.max_attempts):
        assert states.callback_due_s(call) is not None
        call = posted(call, "it answered 503")
    for given_up in (call, posted(ended, "it answered 404", final=True)):
        assert given_up.callback is not None
        assert given_up.callback.state == "given_up"
        assert states.callback_due_s(given_up) is None
