"""Whatever happens, in whatever order, servers that are killed among it: no call is lost without a word, and
none runs more often than it may."""

from __future__ import annotations

from collections import Counter

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from glowplug.calls import states
from glowplug.calls.backlog import Backlog, Entry
from glowplug.calls.states import TRANSITIONS, Outcome
from glowplug.core.calls import ENDED, Callback, CallError, CallId, CallRecord
from glowplug.core.errors import BY_CODE, CallNotRetriable
from glowplug.core.ids import FunctionId
from glowplug.core.rng import rng_for
from glowplug.core.settings import CallSettings
from tests.depth import examples

SETTINGS = CallSettings(
    max_attempts=3, at_once=5, at_once_per_function=2, max_running_bytes=100, deadline_s=4000.0
)
codes = st.sampled_from(
    ["worker_died", "overloaded", "function_failed", "deadline_passed", "invalid_arguments"]
)


class Lives(RuleBasedStateMachine):
    """`disk` is what survives; everything else goes with the server."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1e6
        self.disk: dict[CallId, CallRecord] = {}
        self.runs: Counter[CallId] = Counter()
        """How often a call's function began, since it was accepted or retried by hand."""
        self.sent: dict[CallId, Entry] = {}
        self.room = dict.fromkeys("abc", SETTINGS.at_once_per_function)
        self.backlog = self.fresh_backlog()

    def fresh_backlog(self) -> Backlog:
        return Backlog(SETTINGS.at_once, self.room.__getitem__, SETTINGS.max_running_bytes)

    def write(self, new: CallRecord) -> None:
        old = self.disk.get(new.id)
        if old is not None and old.state != new.state:
            assert (old.state, new.state) in TRANSITIONS
        self.disk[new.id] = new
        if new.state == "waiting":
            self.backlog.add(Entry(new.id, new.function, new.due_s, new.priority, new.body_bytes))

    @precondition(lambda self: len(self.disk) < 6)
    @rule(
        function=st.sampled_from("abc"), idempotent=st.booleans(), size=st.integers(0, 150),
        priority=st.sampled_from([-10, 0]), calls_back=st.booleans(),
    )  # fmt: skip
    def accept(self, function: str, idempotent: bool, size: int, priority: int, calls_back: bool) -> None:
        call = CallId(f"{len(self.disk):032x}")
        self.write(
            CallRecord(
                id=call, function=FunctionId(function), endpoint="e", idempotent=idempotent,
                created_s=self.now_s, due_s=self.now_s, deadline_s=self.now_s + SETTINGS.deadline_s,
                priority=priority, body_bytes=size, callback=Callback("http://x/") if calls_back else None,
            )
        )  # fmt: skip

    @rule(sent=st.booleans())
    def take(self, sent: bool) -> None:
        """Each start is written down; unless `sent`, the server ends before it does more."""
        for entry in self.backlog.take(self.now_s):
            old = self.disk[entry.call]
            call = states.start(old, old.idempotent, self.now_s)
            if call.state != "started" or old.state == "started":
                self.write(call)
                self.backlog.release(entry)
            elif sent:
                self.write(call)
                self.sent[entry.call] = entry
                self.runs[entry.call] += 1
            else:
                self.write(call)
                self.backlog.release(entry)
                self.write(states.put_back(call))

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), code=st.none() | codes, never_ran=st.booleans())
    def answer(self, data: st.DataObject, code: str | None, never_ran: bool) -> None:
        self.answer_one(data.draw(st.sampled_from(sorted(self.sent))), code, never_ran)

    @rule(killed=st.booleans())
    def bad_luck(self, killed: bool) -> None:
        """What may run runs, and ends without an answer."""
        self.now_s += 9.0
        self.take(sent=True)
        if killed:
            self.kill(0.0)
        else:
            for call in sorted(self.sent):
                self.answer_one(call, "worker_died", never_ran=False)

    def answer_one(self, call: CallId, code: str | None, never_ran: bool) -> None:
        ran = code is None or code in ("function_failed", "invalid_arguments") or not never_ran
        if not ran:
            self.runs[call] -= 1
        error = None if code is None else CallError(code, "", BY_CODE[code].status)
        new = states.after(self.disk[call], Outcome(ran, error), SETTINGS, self.now_s, rng_for(0, 0))
        self.backlog.release(self.sent.pop(call))
        self.write(new)

    @precondition(lambda self: self.disk)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(sorted(self.disk)))
        running = call in self.sent
        new = states.cancel(self.disk[call], self.now_s, running)
        if running:
            self.backlog.release(self.sent.pop(call))
        else:
            self.backlog.discard(call)
        if new is not self.disk[call]:
            self.write(new)

    @precondition(lambda self: self.disk)
    @rule(data=st.data(), lost=st.booleans())
    def retry(self, data: st.DataObject, lost: bool) -> None:
        call = data.draw(st.sampled_from(sorted(self.disk)))
        try:
            new = states.retry(self.disk[call], self.now_s, lost)
        except CallNotRetriable:
            return
        self.runs[call] = 0
        self.write(new)

    @rule(function=st.sampled_from("abc"), room=st.integers(1, 3))
    def deploy(self, function: str, room: int) -> None:
        """A version with another queue."""
        self.room[function] = room

    @rule(by_s=st.sampled_from([0.5, 5.0, 100.0, 4000.0]))
    def pass_time(self, by_s: float) -> None:
        self.now_s += by_s
        for call in list(self.disk.values()):
            new = states.expire(call, self.now_s)
            if new is not call:
                self.backlog.discard(call.id)
                self.write(new)

    @rule(clock_s=st.sampled_from([0.0, 0.0, 3600.0, -3600.0]))
    def kill(self, clock_s: float) -> None:
        """The server is killed; the wall clock may be another when it starts again."""
        self.now_s += clock_s
        self.sent.clear()
        self.backlog = self.fresh_backlog()
        for call in list(self.disk.values()):
            if call.state not in ENDED:
                self.write(states.found_again(call, SETTINGS, self.now_s))

    @invariant()
    def the_books_agree(self) -> None:
        self.backlog.validate()
        waiting = [call for call in self.disk.values() if call.state == "waiting"]
        assert len(self.backlog) == len(waiting)

    @invariant()
    def none_runs_more_often_than_it_may(self) -> None:
        for call in self.disk.values():
            assert self.runs[call.id] <= (SETTINGS.max_attempts if call.idempotent else 1)
            assert not (call.idempotent and call.state == "lost")
            assert not (call.state == "done" and self.runs[call.id] < 1)
            assert (call.ended_s is not None) == (call.state in ENDED)
            assert (call.state == "started") == (call.id in self.sent)
            assert msgspec.json.decode(msgspec.json.encode(call), type=CallRecord) == call

    def teardown(self) -> None:
        """Given time and functions that answer, every call ends."""
        for _ in range(len(self.disk) * 2 + 2):
            self.now_s += 10.0
            self.take(sent=True)
            for call in sorted(self.sent):
                new = states.after(self.disk[call], Outcome(True), SETTINGS, self.now_s, rng_for(0, 0))
                self.backlog.release(self.sent.pop(call))
                self.write(new)
        self.pass_time(SETTINGS.deadline_s + 1)
        assert all(call.state in ENDED for call in self.disk.values())


Lives.TestCase.settings = settings(max_examples=examples(150), stateful_step_count=40, deadline=None)
TestLives = Lives.TestCase
