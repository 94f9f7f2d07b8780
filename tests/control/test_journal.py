from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from glowplug.control.driver import Driver
from glowplug.control.engine import GatewayCommand
from glowplug.control.journal import ReplayReport, frame, payloads, replay_segment
from glowplug.control.journal_files import JournalWriter, replay, segment_paths
from glowplug.control.state import ControlState
from glowplug.core.commands import Dispatch, Reject
from glowplug.core.events import Deployed, Event, NodeJoined, RequestArrived, TimerFired
from glowplug.core.ids import FunctionId, GatewayId, RequestId
from glowplug.core.specs import NodeSpec
from glowplug.testing.clock import FakeClock
from glowplug.testing.fake_engine import FakeEngine
from tests.control.world import FACTS, NODE, SETTINGS, World, spec


def busy_world() -> World:
    world = World(gateways=2)
    world.deploy(spec("f"), spec("g", max_workers=3))
    for _ in range(20):
        world.ask("f")
        world.ask("g")
        world.ask("g", gateway="g1")
        world.engine.answer_all()
        for gateway in world.gateways.values():
            for request in list(gateway.running):
                gateway.finish(request)
        world.advance(3.0)
        world.gateway.report()
    return world


def journal_of(world: World, folder: Path, segment_bytes: int = 2**20) -> JournalWriter:
    writer = JournalWriter(folder, segments=3, segment_bytes=segment_bytes)
    state = ControlState(SETTINGS)
    writer.begin(state.snapshot())
    for now_s, event in world.events:
        writer.append(now_s, event, state.handle(event, now_s))
        writer.flush(state.snapshot)
    writer.close()
    return writer


def test_others_cannot_read_what_stands_in_it(tmp_path: Path) -> None:
    """Functions' variables do."""
    (tmp_path / "journal").mkdir(0o755)
    JournalWriter(tmp_path / "journal")
    assert (tmp_path / "journal").stat().st_mode & 0o077 == 0


def test_a_replay_gives_the_same_commands(tmp_path: Path) -> None:
    world = busy_world()
    journal_of(world, tmp_path)
    report = replay(tmp_path)
    assert report.events == len(world.events)
    assert report.commands == len(world.commands)
    assert report.mismatches == []
    assert report.torn_bytes == 0


def test_segments_are_bounded_and_each_replays_from_its_own_snapshot(tmp_path: Path) -> None:
    world = busy_world()
    journal_of(world, tmp_path, segment_bytes=1500)
    assert len(segment_paths(tmp_path)) == 3
    report = replay(tmp_path)
    assert report.segments == 3
    assert 0 < report.events < len(world.events)
    assert report.mismatches == []


def test_a_torn_tail_is_cut_off(tmp_path: Path) -> None:
    journal_of(busy_world(), tmp_path)
    (path,) = segment_paths(tmp_path)
    whole = path.read_bytes()
    all_events = replay(tmp_path).events
    for torn in (1, 7, 9, 30):
        report = ReplayReport()
        replay_segment(path.name, whole[:-torn], report)
        assert report.mismatches == []
        assert report.events in (all_events - 1, all_events - 2)
        assert report.torn_bytes > 0


def test_a_journal_without_a_whole_snapshot_is_empty() -> None:
    report = ReplayReport()
    assert replay_segment("x", b"\x00\x01", report) is None
    assert report.segments == 0


@pytest.mark.parametrize("what", ["snapshot", "entry"])
def test_a_segment_of_another_version_is_left_out(tmp_path: Path, what: str) -> None:
    journal_of(busy_world(), tmp_path)
    (path,) = segment_paths(tmp_path)
    events = replay(tmp_path).events
    snapshot, *entries = payloads(path.read_bytes())
    if what == "snapshot":
        snapshot = snapshot.replace(b"value-per-byte", b"value-per-bite")
    else:
        entries[-1] = entries[-1].replace(b"LeaseReport", b"LeaseRepost")
    (tmp_path / "journal-00000000.gpj").write_bytes(b"".join(map(frame, (snapshot, *entries))))
    report = replay(tmp_path)
    assert (report.events, report.segments, report.foreign) == (events, 1, 1)


def test_another_decision_is_a_mismatch(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path)
    state = ControlState(SETTINGS)
    writer.begin(state.snapshot())
    event = RequestArrived(RequestId(1), FunctionId("f.default"), GatewayId("g"), 9.0)
    state.handle(event, 1.0)
    writer.append(1.0, event, [])
    writer.close()
    (mismatch,) = replay(tmp_path).mismatches
    assert mismatch.event == event


class _Port:
    def __init__(self) -> None:
        self.commands: list[GatewayCommand] = []

    def on_command(self, command: GatewayCommand) -> None:
        self.commands.append(command)


def test_the_driver_routes_commands_and_journals_events(tmp_path: Path) -> None:
    async def story() -> None:
        clock, engine, port = FakeClock(), FakeEngine(FACTS), _Port()
        driver = Driver(ControlState(SETTINGS), engine, JournalWriter(tmp_path), clock)
        driver.start()
        driver.register_gateway(GatewayId("g"), port)
        driver.post(NodeJoined(NodeSpec(NODE, 10_000)))
        driver.post(Deployed(spec(), FACTS))
        for number, name in ((1, "f"), (2, "nobody")):
            function = FunctionId(f"{name}.default")
            driver.post(RequestArrived(RequestId(number), function, GatewayId("g"), clock() + 9))
        engine.answer_all()
        assert [type(c) for c in port.commands] == [Reject, Dispatch]
        await driver.close()
        await driver.close()

    asyncio.run(story())
    report = replay(tmp_path)
    assert report.events == 6
    assert report.mismatches == []


def test_the_driver_fires_timers(tmp_path: Path) -> None:
    async def story() -> None:
        clock, port = FakeClock(), _Port()
        driver = Driver(ControlState(SETTINGS), FakeEngine(FACTS), None, clock)
        driver.start()
        driver.register_gateway(GatewayId("g"), port)
        driver.post(Deployed(spec(), FACTS))
        driver.post(RequestArrived(RequestId(1), FunctionId("f.default"), GatewayId("g"), clock() + 0.001))
        clock.advance(0.001)
        async with asyncio.timeout(60):
            while not port.commands:
                await asyncio.sleep(0)
        (reject,) = port.commands
        assert isinstance(reject, Reject)
        assert reject.code == "deadline_passed"
        await driver.close()

    asyncio.run(story())


class _Broken(ControlState):
    def handle(self, event: Event, now_s: float) -> list[Dispatch]:  # type: ignore[override]
        raise KeyError("a bug")


def test_a_bug_stops_the_driver_and_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        told: list[BaseException] = []
        driver = Driver(_Broken(SETTINGS), FakeEngine(), JournalWriter(tmp_path), FakeClock(), told.append)
        driver.start()
        for _ in range(2):
            driver.post(TimerFired("deadline"))
        assert [type(error) for error in told] == [KeyError]
        await driver.close()

    asyncio.run(story())
    assert "the controller failed on TimerFired" in caplog.text
    assert replay(tmp_path).events == 1, "what it failed on can be looked at"


class _FullDisk(JournalWriter):
    """Takes what it is given until `full`."""

    full = False

    def begin(self, snapshot: bytes) -> None:
        self._refuse()
        super().begin(snapshot)

    def flush(self, snapshot: Callable[[], bytes]) -> None:
        self._refuse()
        super().flush(snapshot)

    def close(self) -> None:
        self._refuse()
        super().close()

    def _refuse(self) -> None:
        if self.full:
            raise OSError(28, "No space left on device")


@pytest.mark.parametrize("when", ["before the start", "before a flush", "before the end"])
def test_a_full_disk_costs_the_journal_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    async def story() -> None:
        journal, port = _FullDisk(tmp_path), _Port()
        driver = Driver(ControlState(SETTINGS), FakeEngine(FACTS), journal, FakeClock())
        journal.full = when == "before the start"
        driver.start()
        journal.full |= when == "before a flush"
        driver.register_gateway(GatewayId("g"), port)
        driver.post(RequestArrived(RequestId(1), FunctionId("f.default"), GatewayId("g"), 9.0))
        driver.flush()
        driver.post(RequestArrived(RequestId(2), FunctionId("f.default"), GatewayId("g"), 9.0))
        assert [type(command) for command in port.commands] == [Reject, Reject]
        journal.full |= when == "before the end"
        await driver.close()

    asyncio.run(story())
    assert caplog.text.count("the journal cannot be written and is given up") == 1
    assert replay(tmp_path).mismatches == []


def test_what_cannot_be_encoded_costs_the_journal_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        port = _Port()
        driver = Driver(ControlState(SETTINGS), FakeEngine(FACTS), JournalWriter(tmp_path), FakeClock())
        driver.start()
        driver.register_gateway(GatewayId("g"), port)
        for number in (1, 2**70, 3):
            driver.post(RequestArrived(RequestId(number), FunctionId("f.default"), GatewayId("g"), 9.0))
        assert [type(command) for command in port.commands] == [Reject] * 3
        await driver.close()

    asyncio.run(story())
    assert caplog.text.count("the journal cannot be written and is given up") == 1
