"""The parts of `endurance` in their short, seeded versions: nothing is timed, everything is checked."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from glowplug.bench.endurance import kills, overload, priority, soak
from glowplug.bench.endurance.ground import VICTIMS, WITH_GATEWAYS, Victim
from glowplug.bench.endurance.options import Options
from glowplug.bench.result import Claim

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

QUICK = Options(quick=True).resolved()


def missed(claims: list[Claim]) -> list[str]:
    return [f"{claim.name}: {claim.value}" for claim in claims if not claim.holds]


def told(_: str) -> None:
    """Nobody listens."""


@pytest.mark.parametrize(("gateways", "kinds"), [(1, VICTIMS), (2, WITH_GATEWAYS)])
def test_kills_under_load(folder: Path, gateways: int, kinds: tuple[Victim, ...]) -> None:
    """No acknowledged deploy or spawned call lost, no wrong answer, nobody left hanging, nothing left."""
    options = msgspec.structs.replace(QUICK, gateways=gateways)
    (_, row), claims = kills.run(options, folder, told)
    assert missed(claims) == [], row
    assert set(row["kills"]) == set(kinds)
    assert row["answered"] > 0
    assert row["spawns_ended"]["done"] > 0


def test_a_short_soak(folder: Path) -> None:
    (_, row), claims = soak.run(QUICK, folder, told)
    assert missed(claims) == [], row
    assert row["answered"] > 0


def test_five_times_too_much(folder: Path) -> None:
    """Whoever is not answered is refused, and told when to come again."""
    (_, row), claims = overload.run(QUICK, folder, told)
    assert missed(claims) == [], row
    assert set(row["errors_by_kind"]) <= {"queue_full", "overloaded"}
    assert row["answered"] > 0


def test_a_crowd_in_the_background(folder: Path) -> None:
    rows, claims = priority.run(QUICK, folder, told)
    assert missed(claims) == [], rows
    assert all(row["background_answered"] > 0 for row in rows if "background_answered" in row)
