"""Bad luck while `ladder` loads ahead, seeded: workers and zygotes die, functions are sent down, and memory
has no room for all that they would climb to, so that each makes others go."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
import uvloop

from glowplug.bench.endurance.ground import Ground, Victim
from glowplug.bench.endurance.kills import facts
from glowplug.bench.live.load import Caller, Load, Outcome
from glowplug.cli.deploying import deploy_files
from glowplug.control.journal import commands_crc, read_segment
from glowplug.control.journal_files import segment_paths
from glowplug.control.state import ControlState
from glowplug.core.commands import Climb, Descend
from glowplug.core.errors import Unavailable
from glowplug.core.priority import Priority
from glowplug.core.rng import Rng, rng_for
from tests.e2e.conftest import WAIT_S

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

SEED = 6
FUNCTIONS, HELD_BYTES = 5, 140_000_000
BUDGET_BYTES = 790_000_000
RATE = 12.0
DEEDS = 12
GAP_S = 0.4
KILLED: tuple[Victim, ...] = ("worker", "worker", "worker", "function", "function", "environment")
OPTIONS = ("--preload", "ladder", "--preload-horizon", "500ms", "--preload-cpu-share", "2")
SOURCE = f"""
import glowplug
app = glowplug.App("lucky")

class Model:
    number = 0

    def setup(self):
        self.held = b"x" * {HELD_BYTES}

    @glowplug.endpoint
    def answer(self, value: int) -> list:
        return [self.number, self.number * 1000 + value, len(self.held)]

for number in range({FUNCTIONS}):
    made = type(f"Model{{number}}", (Model,), {{"number": number, "__module__": __name__}})
    leaves = {{"prewarm": "fixed", "keep_warm": "100ms"}} if number % 2 else {{}}
    globals()[made.__name__] = app.model(name=f"f{{number}}", memory="170MB", **leaves)(made)
"""


def load_of(caller: Caller, rng: Rng) -> Load:
    async def send() -> Outcome:
        number, value = rng.randrange(FUNCTIONS), rng.randrange(1000)
        right = [number, number * 1000 + value, HELD_BYTES]
        return await caller.call(f"f{number}", {"value": value}, lambda answer: bool(answer == right))

    return Load(RATE, rng, send)


def planned() -> list[tuple[float, Victim | tuple[str, str]]]:
    """What is done after how long a pause: one of a kind is killed, or a function sent down to a step."""
    rng = rng_for(SEED, 0)
    return [
        (
            rng.uniform(0.0, GAP_S),
            (f"f{rng.randrange(FUNCTIONS)}", rng.choice(("local", "imported", "staged")))
            if rng.random() < 0.3
            else rng.choice(KILLED),
        )
        for _ in range(DEEDS)
    ]


async def there(ground: Ground, kind: Victim) -> list[int]:
    """Processes of that kind, as soon as there are some: it is called for again and again."""
    async with asyncio.timeout(WAIT_S):
        while not (found := ground.victims(kind)):
            await asyncio.sleep(0.05)
    return found


async def played(ground: Ground) -> tuple[list[Outcome], Counter[str]]:
    """What calls came to, the last of them after all bad luck, and what was done to functions."""
    rng, deeds = rng_for(SEED, 2), Counter[str]()
    caller, client = Caller(ground.address), ground.client
    load = load_of(caller, rng_for(SEED, 1))
    assert client is not None
    try:
        load.start()
        for pause_s, deed in planned():
            await asyncio.sleep(pause_s)
            if isinstance(deed, tuple):
                try:
                    await asyncio.to_thread(client.descend, *deed)
                except Unavailable:  # a call of the function's came while it was on its way
                    deeds["called first"] += 1
                else:
                    deeds["sent down"] += 1
            else:
                deeds[deed] += ground.kill(rng.choice(await there(ground, deed)))
        async with asyncio.timeout(WAIT_S):
            while not (await asyncio.to_thread(client.info))["preload"]["started"]:
                await asyncio.sleep(GAP_S)
        outcomes = await load.stop()
        # Twice: who was killed last may still be dying when it is asked first.
        for number in (*range(FUNCTIONS), *range(FUNCTIONS)):
            outcomes.append(
                await caller.call(f"f{number}", {"value": 7}, lambda answer: bool(answer[1] % 1000 == 7))
            )
    finally:
        caller.close()
    return outcomes, deeds


def moves(folder: Path) -> Counter[str]:
    """Of workers, by the journal: those loaded ahead, and why others went. Fails where it tells otherwise
    than what is decided again."""
    found: Counter[str] = Counter()
    for path in segment_paths(folder):
        snapshot, entries = read_segment(path.read_bytes())
        assert snapshot is not None
        state = ControlState.from_snapshot(snapshot)
        for entry in entries:
            commands = state.handle(entry.event, entry.now_s)
            assert commands_crc(commands) == entry.commands_crc, entry.event
            for command in commands:
                if isinstance(command, Descend):
                    found[command.why] += 1
                elif isinstance(command, Climb) and command.target.kind == "instance":
                    found["ahead"] += command.priority == Priority.BACKGROUND
        state.validate()
    return found


def test_evictions_and_kills_while_functions_are_loaded_ahead(folder: Path) -> None:
    ground = Ground(folder / "ground", BUDGET_BYTES, OPTIONS)
    source = folder / "lucky.py"
    source.write_text(SOURCE)
    try:
        ground.start()
        assert ground.server is not None
        deploy_files(ground.server.url, None, [source], quiet=True)
        outcomes, deeds = uvloop.run(played(ground))
    finally:
        ground.stop()
    row, moved = facts(outcomes), moves(ground.state_dir / "journal")
    assert (row["wrong"], row["lost"], row["defects"]) == (0, 0, 0), row
    assert {outcome.kind for outcome in outcomes[-FUNCTIONS:]} == {"ok"}, outcomes[-FUNCTIONS:]
    assert row["answered"] > row["requests"] / 2, row
    assert deeds["sent down"] > 0, deeds
    assert deeds["worker"] + deeds["function"] + deeds["environment"] > DEEDS / 4, deeds
    assert moved["ahead"] > 0, moved
    assert moved["evicted"] > 0, moved
    assert ground.left_behind() == []
