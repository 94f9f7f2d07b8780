"""Whoever dies, whenever: each worker runs once, or is about to, until the root has the result."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from glowplug.core.errors import OutOfMemory
from glowplug.distributed.errors import GangLost
from glowplug.distributed.gang import Begin, Command, End, Gang, GoBack
from glowplug.distributed.notes import MOST_INCARNATIONS
from glowplug.distributed.start import Place
from tests.depth import examples


def places(commands: list[Command]) -> list[tuple[int, int, int]]:
    return [
        (each.place.worker, each.place.epoch, each.place.incarnation)
        for each in commands
        if isinstance(each, Begin)
    ]


def test_the_tree_is_launched_from_its_roots() -> None:
    gang = Gang("run", 6, 2)
    commands = gang.start()
    assert places(commands) == [(0, 0, 0), (1, 0, 0)]
    assert [each.launches for each in commands if isinstance(each, Begin)] == [(2, 3), (4, 5)]
    assert places(gang.asked(3)) == [(3, 0, 0)]
    assert gang.asked(3) == [], "who took over launches again what was launched"


def test_a_lost_worker_is_replaced() -> None:
    gang = Gang("run", 2, 2)
    gang.start()
    assert places(gang.lost(Place("run", 1), "was killed")) == [(1, 0, 1)]
    assert gang.lost(Place("run", 1), "was killed") == [], "its end is told once"


def test_who_is_lost_again_and_again_costs_the_epoch() -> None:
    gang = Gang("run", 2, 2)
    gang.start()
    for incarnation in range(MOST_INCARNATIONS - 1):
        assert len(gang.lost(Place("run", 1, 0, incarnation), "was killed")) == 1
    assert gang.lost(Place("run", 1, 0, MOST_INCARNATIONS - 1), "was killed") == [GoBack(1)]
    assert gang.lost(Place("run", 0), "was killed") == [], "the epoch before is over"
    assert places(gang.gone_back()) == [(0, 1, 0), (1, 1, 0)]


def test_the_loss_of_one_for_whom_nobody_can_take_over_sends_all_back() -> None:
    gang = Gang("run", 2, replaceable={0})
    gang.start()
    assert places(gang.lost(Place("run", 0), "was killed")) == [(0, 0, 1)]
    assert gang.lost(Place("run", 1), "was killed") == [GoBack(1)]


def test_a_loss_after_somebody_who_keeps_is_done_sends_all_back() -> None:
    """Whoever takes over would ask one that may have left."""
    for keeps, after in ((False, [(0, 0, 1)]), (True, [])):
        gang = Gang("run", 3, 3)
        gang.start()
        gang.finished(Place("run", 2), keeps=keeps)
        commands = gang.lost(Place("run", 0), "was killed")
        assert places(commands) == after
        assert (GoBack(1) in commands) == keeps
    assert places(gang.gone_back()) == [(0, 1, 0), (1, 1, 0), (2, 1, 0)]
    assert places(gang.lost(Place("run", 0, 1), "was killed")) == [(0, 1, 1)], "nobody is done in this epoch"


def test_a_run_is_over_when_its_root_is() -> None:
    gang = Gang("run", 2, 2)
    gang.start()
    assert gang.finished(Place("run", 1)) == []
    assert gang.finished(Place("run", 0)) == [End(None)]
    assert gang.lost(Place("run", 1), "was killed") == []


def test_an_error_that_would_come_again_ends_the_run() -> None:
    gang = Gang("run", 2, 2)
    gang.start()
    (end,) = gang.failed(Place("run", 1), OutOfMemory("worker 1 needs more"))
    assert isinstance(end, End)
    assert isinstance(end.error, OutOfMemory)


def test_losses_come_to_an_end() -> None:
    gang = Gang("run", 1, 1, most_losses=1)
    gang.start()
    gang.lost(Place("run", 0), "was killed by SIGKILL")
    (end,) = gang.lost(Place("run", 0, 0, 1), "was killed by SIGSEGV")
    assert isinstance(end, End)
    assert isinstance(end.error, GangLost)
    assert "was killed by SIGSEGV" in str(end.error)


class Machine(RuleBasedStateMachine):
    @initialize(workers=st.integers(1, 5), branching=st.integers(1, 3), most_losses=st.integers(0, 6))
    def begin(self, workers: int, branching: int, most_losses: int) -> None:
        self.workers = workers
        self.gang = Gang("run", workers, branching, range(0, workers, 2), most_losses)
        self.running: dict[Place, tuple[int, ...]] = {}
        self.done: set[int] = set()
        self.ended: list[End] = []
        self.obey(self.gang.start())

    def obey(self, commands: list[Command]) -> None:
        for command in commands:
            assert not self.ended, "nothing follows the end"
            match command:
                case Begin(place, launches):
                    assert place.worker not in {each.worker for each in self.running}
                    self.running[place] = launches
                case GoBack():
                    self.running.clear()
                    self.done.clear()
                    self.obey(self.gang.gone_back())
                case End():
                    self.ended.append(command)

    def pick(self, number: int) -> Place:
        return sorted(self.running, key=repr)[number % len(self.running)]

    @rule(number=st.integers(0, 9))
    @precondition(lambda self: self.running and not self.ended)
    def launch(self, number: int) -> None:
        for worker in self.running[self.pick(number)]:
            self.obey(self.gang.asked(worker))

    @rule(number=st.integers(0, 9))
    @precondition(lambda self: self.running and not self.ended)
    def lose(self, number: int) -> None:
        place = self.pick(number)
        del self.running[place]
        self.obey(self.gang.lost(place, "was killed"))

    @rule(number=st.integers(0, 9))
    @precondition(lambda self: self.running and not self.ended)
    def stick(self, number: int) -> None:
        place = self.pick(number)
        del self.running[place]
        self.obey(self.gang.stuck(place, "waits"))

    @rule(number=st.integers(0, 9), keeps=st.booleans())
    @precondition(lambda self: self.running and not self.ended)
    def finish(self, number: int, keeps: bool) -> None:
        place = self.pick(number)
        if place.worker == 0:
            return
        for worker in self.running[place]:
            self.obey(self.gang.asked(worker))  # The first thing that a worker does is to launch its own.
        del self.running[place]
        self.done.add(place.worker)
        self.obey(self.gang.finished(place, keeps=keeps))

    @rule(worker=st.integers(0, 4), epoch=st.integers(0, 3), incarnation=st.integers(0, 3))
    def hear_what_is_late(self, worker: int, epoch: int, incarnation: int) -> None:
        place = Place("run", worker, epoch, incarnation)
        if place not in self.running:
            assert self.gang.lost(place, "was killed") == self.gang.finished(place) == []

    @invariant()
    def is_whole(self) -> None:
        if hasattr(self, "gang"):
            self.gang.validate()

    def teardown(self) -> None:
        """From here on everybody launches, and then everybody finishes, the root last."""
        if not hasattr(self, "gang") or self.ended:
            return
        for _ in range(self.workers):
            for launches in list(self.running.values()):
                for worker in launches:
                    self.obey(self.gang.asked(worker))
        assert {place.worker for place in self.running} | self.done == set(range(self.workers))
        for place in sorted(self.running, key=lambda each: -each.worker):
            self.obey(self.gang.finished(place))
        assert self.ended == [End(None)]


Machine.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=25, deadline=None)
TestGang = Machine.TestCase
