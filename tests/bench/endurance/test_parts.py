"""What `endurance` judges by: is something flat, was something lost, is something left behind."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.bench.endurance.chaos import FUNCTIONS, deck
from glowplug.bench.endurance.deploys import Deployer
from glowplug.bench.endurance.ground import VICTIMS, Ground
from glowplug.bench.endurance.options import PARTS, Options
from glowplug.bench.endurance.watch import growth, sample
from glowplug.bench.registry import options_of
from glowplug.bench.workloads import rounds_of, service_answer, service_source
from glowplug.core.rng import rng_for
from glowplug.server.database import Database


@given(st.floats(-1e3, 1e3), st.floats(0, 1e9), st.integers(3, 60))
def test_a_line_grows_by_its_slope(slope: float, start: float, count: int) -> None:
    points = [(float(k), start + slope * k) for k in range(count)]
    assert growth(points) == pytest.approx(slope * (count - 1), rel=1e-3, abs=1e-3)


def test_peaks_and_the_warm_up_are_no_growth() -> None:
    flat = [(float(k), 100.0) for k in range(100)]
    flat[40] = flat[70] = (flat[40][0], 1e9)
    assert growth([(float(k), k * 50.0) for k in range(20)] + flat[20:]) == 0.0
    assert growth([]) == growth([(0.0, 1.0)]) == 0.0


def test_a_process_that_is_gone_has_no_sample() -> None:
    assert sample(2**22 + 1) is None


def test_a_deck_has_every_kind_equally_often_in_a_seeded_order() -> None:
    count = 3 * len(VICTIMS) + 2
    dealt = deck(VICTIMS, count, rng_for(1, 1))
    assert set(Counter(dealt).values()) == {3, 4}
    assert dealt == deck(VICTIMS, count, rng_for(1, 1)) != deck(VICTIMS, count, rng_for(2, 1))


@pytest.fixture
def ground() -> Iterator[Ground]:
    """A folder on which no server ever was, but for an empty database."""
    folder = Path(tempfile.mkdtemp(prefix="glowplug-ground-"))
    found = Ground(folder, 10**9)
    for name in ("bundles", "packs", "incoming"):
        (found.state_dir / name).mkdir(parents=True)
    Database(found.state_dir / "glowplug.db").close()
    yield found
    shutil.rmtree(folder)


def test_nothing_is_left_behind_of_nothing(ground: Ground) -> None:
    assert ground.left_behind(0.0) == []


def test_what_is_left_behind_is_found(ground: Ground) -> None:
    for name in ("bundles/b", "bundles/.new-c", "incoming/u.tar", "packs/p.pack"):
        (ground.state_dir / name).touch()
    (ground.folder / "scratch" / "glowplug-run-x").mkdir()
    with subprocess.Popen(["sleep", "1000"], cwd=ground.folder / "scratch") as orphan:
        found = ground.left_behind(0.0)
        orphan.kill()
    assert f"process {orphan.pid}: sleep" in found
    assert {"scratch/glowplug-run-x", "incoming/u.tar", "bundles/.new-c", "bundles/b", "packs/p.pack"} <= {
        *found
    }


def test_answers_of_versions_that_never_were_are_wrong(ground: Ground) -> None:
    deployer = Deployer(ground, FUNCTIONS)
    assert not deployer.deploy("plain"), "there is no server"
    right = [1, service_answer("plain", 1, 5)]
    assert deployer.is_right("plain", 5, 1, right)
    for number, digest in ((2, right[1]), (1, "0"), (2, service_answer("plain", 2, 5))):
        assert not deployer.is_right("plain", 5, 1, [number, digest])


def test_a_source_answers_what_is_expected_of_it() -> None:
    found: dict[str, object] = {}
    exec(service_source(3, FUNCTIONS), found)
    assert found["plain"].local(5, rounds=2) == [3, service_answer("plain", 3, 5, 2)]  # type: ignore[attr-defined]
    assert rounds_of(1e-3) >= 1


def test_settings_are_read_from_text() -> None:
    found = options_of(Options, True, None, ["parts=soak,kills", "soak_s=2.5", "kills=3"])
    assert (found.parts, found.soak_s, found.kills, found.quick) == (("soak", "kills"), 2.5, 3, True)
    assert options_of(Options, False, 2, []).repeats == 2
    assert Options().parts == PARTS


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("parts=nap", "no parts nap"),
        ("kills=many", "kills"),
        ("nothing=1", "nothing=1"),
        ("kills", "NAME=VALUE"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        options_of(Options, False, None, [setting])
