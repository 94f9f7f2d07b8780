"""Calls taken, run, asked for, cancelled and retried, on a real file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from glowplug.calls.states import Outcome
from glowplug.core.calls import DEAD_LETTERS, CallId
from glowplug.core.errors import (
    CallNotRetriable,
    IdempotencyKeyReused,
    NoSpace,
    QueueFull,
    Unavailable,
    UnknownCall,
    UserError,
)

from .fakes import FakeFunctions, failure, office, run


def test_a_call_runs_and_its_result_is_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path) as o:
            call = await o.spawn(body=b"question")
            ended = await o.ended(call)
            assert (ended.state, ended.result_type, ended.attempts) == ("done", "text/plain", 1)
            assert await o.desk.result(call.id) == b"fine"
            ((seen, body),) = o.functions.runs
            assert (seen.id, seen.state, body) == (call.id, "started", b"question")
            assert o.desk.store.totals["argument_bytes"] == 0
            assert o.desk.gauges()["glowplug_spawned_calls_done"][1] == 1

    run(scenario)


def test_failures_that_pass_are_tried_again_and_others_are_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path) as o:
            o.functions.ready = [failure("worker_died"), failure("overloaded", ran=False)]
            ended = await o.ended(await o.spawn())
            assert (ended.state, ended.attempts, ended.refusals) == ("done", 2, 1)
            o.functions.ready = [failure("function_failed")]
            ended = await o.ended(await o.spawn())
            assert (ended.state, ended.attempts) == ("failed", 1)
            assert ended.error is not None
            assert ended.error.message == "because function_failed"
            o.functions.by_default = failure("worker_died")
            assert (await o.ended(await o.spawn())).state == "dead"

    run(scenario)


def test_what_is_not_idempotent_runs_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path) as o:
            o.functions.repeatable = False
            o.functions.by_default = failure("worker_died")
            assert (await o.ended(await o.spawn(idempotent=False))).state == "lost"
            assert len(o.functions.runs) == 1

    run(scenario)


def test_a_key_makes_asking_twice_harmless(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path) as o:
            both = await asyncio.gather(*(o.spawn(key="k") for _ in range(20)))
            assert len({call.id for call in both}) == 1
            await o.ended(both[0])
            assert (await o.spawn(key="k")).state == "done"
            assert len(o.functions.runs) == 1
            for changed in ({"body": b"other"}, {"endpoint": "other"}):
                with pytest.raises(IdempotencyKeyReused):
                    await o.spawn(key="k", **changed)  # type: ignore[arg-type]
            assert (await o.spawn("g", key="k")).id != both[0].id

    run(scenario)


def test_what_is_full_refuses_and_loses_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path, max_waiting=2, max_argument_bytes=100) as o:
            o.functions.by_default = None
            first = await o.spawn(body=b"x" * 60)
            with pytest.raises(NoSpace, match="100 B"):
                await o.spawn(body=b"x" * 60)
            await o.spawn()
            with pytest.raises(QueueFull) as caught:
                await o.spawn()
            assert caught.value.retry_after_s is not None
            _, answer = await o.functions.asked()
            answer.set_result(Outcome(True, content_type="text/plain", body=b"fine"))
            assert (await o.ended(first)).state == "done"
            await o.spawn(body=b"x" * 60)
        async with office(tmp_path, max_stored=3) as o:
            with pytest.raises(QueueFull, match="results are kept"):
                await o.spawn()

    run(scenario)


def test_results_fill_their_share_and_calls_wait_until_some_are_collected(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path, max_result_bytes=4) as o:
            first = await o.spawn()
            await o.ended(first)
            second = await o.spawn()
            assert (await o.desk.find(second.id)).state == "waiting"
            o.later_s = 3500
            await o.desk.sweep()
            assert (await o.desk.find(first.id)).state == "done", "results are kept for an hour"
            o.later_s = 3700
            await o.desk.sweep()
            assert (await o.ended(second)).state == "done"
            with pytest.raises(UnknownCall, match="kept for a while"):
                await o.desk.find(first.id)

    run(scenario)


def test_dead_letters_are_kept_longer_and_can_be_retried(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path) as o:
            o.functions.ready = [failure("function_failed")]
            call = await o.spawn(body=b"question")
            await o.ended(call)
            o.later_s = 3700
            await o.desk.sweep()
            assert [found.id for found in await o.desk.list(None, DEAD_LETTERS, None, 10)] == [call.id]
            assert (await o.desk.retry(call.id)).state == "waiting"
            assert (await o.ended(call)).state == "done"
            assert [body for _, body in o.functions.runs] == [b"question", b"question"]
            with pytest.raises(CallNotRetriable):
                await o.desk.retry(call.id)

    run(scenario)


def test_cancelling_what_waits_runs_and_has_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path, at_once=1) as o:
            o.functions.by_default = None
            running = await o.spawn()
            seen, _ = await o.functions.asked()
            waiting = await o.spawn()
            assert (await o.desk.cancel(waiting.id)).state == "cancelled"
            assert (await o.desk.cancel(running.id)).state == "cancelled"
            assert [call.id for call in o.functions.stopped] == [seen.id]
            o.functions.by_default = Outcome(True)
            done = await o.spawn()
            await o.ended(done)
            assert (await o.desk.cancel(done.id)).state == "done"
            assert len(o.functions.runs) == 2
            with pytest.raises(UnknownCall):
                await o.desk.cancel(CallId("nobody"))

    run(scenario)


def test_cancelling_at_any_moment_leaves_one_end(tmp_path: Path) -> None:
    """Whoever comes first: the function's answer, or who cancels."""

    async def scenario() -> None:
        async with office(tmp_path) as o:
            for turns in range(40):
                call = await o.spawn()
                for _ in range(turns):
                    await asyncio.sleep(0)
                cancelled = await o.desk.cancel(call.id)
                assert cancelled.state in ("cancelled", "done")
                assert (await o.desk.find(call.id)) == cancelled
            assert o.desk.store.totals["waiting"] == o.desk.store.totals["started"] == 0

    run(scenario)


def test_cancelling_as_an_attempt_fails_leaves_none_to_come(tmp_path: Path) -> None:
    """At any moment between what the function answered and its being written down."""

    async def scenario() -> None:
        async with office(tmp_path, backoff_s=1000.0, max_backoff_s=1000.0) as o:
            o.functions.by_default = None
            for turns in range(20):
                call = await o.spawn()
                _, answer = await o.functions.asked()
                answer.set_result(failure("overloaded"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                assert (await o.desk.cancel(call.id)).state == "cancelled"
                assert (await o.desk.find(call.id)).state == "cancelled"
            assert o.desk.store.totals["waiting"] == o.desk.store.totals["started"] == 0

    run(scenario)


def test_a_deadline_ends_what_still_waits(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path, at_once=1) as o:
            o.functions.by_default = None
            await o.spawn()
            await o.functions.asked()
            late = await o.spawn(deadline_s=5.0)
            o.later_s = 6
            await o.desk.sweep()
            ended = await o.ended(late)
            assert ended.error is not None
            assert (ended.state, ended.error.code) == ("dead", "deadline_passed")

    run(scenario)


def test_lists_are_filtered_and_paged(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path) as o:
            calls = [await o.spawn(name) for name in ("f", "g", "f", "f")]
            for call in calls:
                await o.ended(call)
            newest = sorted((call.id for call in calls), reverse=True)
            page = await o.desk.list(None, (), None, 3)
            assert [call.id for call in page] == newest[:3]
            assert [call.id for call in await o.desk.list(None, ("done",), page[-1].id, 3)] == newest[3:]
            assert len(await o.desk.list("f.default", ("done", "lost"), None, 10)) == 3
            assert await o.desk.list(None, ("waiting",), None, 10) == []

    run(scenario)


def test_the_next_start_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    """A start after an end without a word: what ran is run again or lost, what waited runs."""

    async def scenario() -> None:
        functions = FakeFunctions()
        functions.by_default = None
        async with office(tmp_path, functions, at_once=2) as o:
            again = await o.spawn(body=b"again")
            await o.functions.asked()
            functions.repeatable = False
            once = await o.spawn(body=b"once")
            await o.functions.asked()
            waits = await o.spawn(body=b"waits")
            await o.desk._runner.loop.close()  # as if it were killed: nothing more is written
        async with office(tmp_path) as o:
            assert (await o.ended(again)).attempts == 2
            assert (await o.ended(once)).state == "lost"
            assert (await o.ended(waits)).state == "done"
            assert sorted(body for _, body in o.functions.runs) == [b"again", b"waits"]
            with pytest.raises(CallNotRetriable, match="--lost"):
                await o.desk.retry(once.id)
            await o.desk.retry(once.id, even_if_lost=True)
            assert (await o.ended(once)).state == "done"

    run(scenario)


def test_a_drain_ends_what_runs_and_begins_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path, grace_s=30, at_once=1) as o:
            o.functions.by_default = None
            running = await o.spawn()
            _, answer = await o.functions.asked()
            waiting = await o.spawn()
            watcher = asyncio.create_task(o.desk.find(waiting.id, 60))
            await asyncio.sleep(0)
            o.desk.stop()
            assert (await watcher).state == "waiting"
            answer.set_result(Outcome(True))
        async with office(tmp_path) as o:
            assert (await o.desk.find(running.id)).state == "done"
            assert (await o.ended(waiting)).state == "done"
            await o.desk.close()
            with pytest.raises(Unavailable):
                await o.spawn()

    run(scenario)


@pytest.mark.parametrize(
    "url",
    ["ftp://x/", "file:///etc/passwd", "http://", "nonsense", "http://u:p@x/", "http://x/ y", "http://[::1/"],
)
def test_senseless_callbacks_are_refused(tmp_path: Path, url: str) -> None:
    async def scenario() -> None:
        async with office(tmp_path) as o:
            with pytest.raises(UserError):
                await o.spawn(callback_url=url)

    run(scenario)
