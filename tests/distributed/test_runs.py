"""Real workers: processes that are killed, limited, interrupted, and replaced."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from glowplug.bench.systems.processes import children, command_line, descendants
from glowplug.core.errors import DeadlinePassed, InvalidArguments, OutOfMemory
from glowplug.distributed import assignment, deploying
from glowplug.distributed.channels import owners
from glowplug.distributed.channels.shared_memory import SharedMemoryRoom
from glowplug.distributed.deploying import Deployed
from glowplug.distributed.errors import PartTooLarge, PlatformError, RunExists
from glowplug.distributed.faults import Faults, Kill
from glowplug.distributed.local_platform import LocalPlatform
from glowplug.distributed.network import Floats
from glowplug.distributed.orders import FIRST
from glowplug.distributed.partition.baselines import block
from glowplug.distributed.partition.result import Settings
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.runner import run
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.serial import serial
from glowplug.node.isolation.memory_caps import MemoryCaps, memory_caps
from glowplug.policy.plans import relay
from tests.distributed.nets import small_inputs

pytestmark = pytest.mark.e2e
LAYERS, SAMPLES, WORKERS = 24, 60, 3
WAIT_S, AGAIN_S = 180.0, 20.0
NETWORK = ChallengeNetwork(1024, LAYERS)


@pytest.fixture(scope="module")
def x() -> Floats:
    return small_inputs(1024, SAMPLES)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("parts"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs put everything; it is empty after each."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return temporary


def rows() -> assignment.Assignment:
    return assignment.rows(SAMPLES, block(NETWORK, Settings(WORKERS)))


def is_clean(place: Path) -> bool:
    return not zygotes() and not list(place.iterdir())


def zygotes() -> list[int]:
    """Those that this process has; their workers go with them."""
    return [pid for pid in children(os.getpid()) if "glowplug.distributed.zygote_main" in command_line(pid)]


@pytest.mark.parametrize("relayed", [False, True])
def test_workers_that_die_are_replaced(
    x: Floats, parts: str, place: Path, monkeypatch: pytest.MonkeyPatch, relayed: bool
) -> None:
    """One worker twice, the root once; in between, messages are lost, damaged, doubled and late. With three
    workers nothing would be relayed."""
    monkeypatch.setattr(relay, "PAIRS_A_WORKER", 1)
    kills = (Kill(1, FIRST + 9), Kill(1, FIRST + 14, 0, 1), Kill(0, FIRST + 19))
    faults = Faults(seed=1, drop=0.02, corrupt=0.02, duplicate=0.05, late=0.05, delay=0.05, kills=kills)
    options = RunOptions(
        faults=faults, keep=True, stall_s=0.3, checkpoint_layers=6, parts=parts, deadline_s=120
    )
    seen: set[int] = set()
    found = run(
        NETWORK,
        x,
        replace(rows(), relayed=relayed),
        SharedMemoryRoom(folder=str(place)),
        options,
        watch=lambda worker, step: seen.add(worker),
    )
    assert np.array_equal(found.output, serial(NETWORK, x))
    assert (found.restarts, found.epochs, found.invocations) == (3, 1, WORKERS + 3)
    assert seen == {0, 1, 2}
    assert is_clean(place)


def test_a_worker_that_always_dies_sends_all_back(x: Floats, parts: str, place: Path) -> None:
    kills = tuple(Kill(2, FIRST + 20, 0, incarnation) for incarnation in range(3))
    options = RunOptions(
        faults=Faults(kills=kills), checkpoint_layers=6, parts=parts, branching=1, deadline_s=120
    )
    found = run(NETWORK, x, rows(), SharedMemoryRoom(folder=str(place)), options)
    assert np.array_equal(found.output, serial(NETWORK, x))
    assert found.epochs == 2
    assert is_clean(place)


def test_workers_whose_zygote_is_killed_are_replaced(x: Floats, parts: str, place: Path) -> None:
    """They go with it. Whoever takes over is forked from a new one."""
    killed: list[int] = []

    def watch(worker: int, step: int) -> None:
        if not killed and step >= FIRST:
            killed.extend(zygotes())
            os.kill(killed[0], signal.SIGKILL)

    options = RunOptions(checkpoint_layers=6, keep=True, parts=parts, deadline_s=120)
    found = run(NETWORK, x, rows(), SharedMemoryRoom(folder=str(place)), options, watch=watch)
    assert len(killed) == 1
    assert np.array_equal(found.output, serial(NETWORK, x))
    assert found.restarts >= 1
    assert is_clean(place)


def test_what_cannot_be_imported_ends_the_run(
    x: Floats, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHOME", str(place))
    with pytest.raises(PlatformError, match="what workers are forked from ended with status 1"):
        run(NETWORK, x, rows(), SharedMemoryRoom(folder=str(place)))
    assert is_clean(place)


def test_nobody_waits_past_the_deadline(x: Floats, parts: str, place: Path) -> None:
    options = RunOptions(faults=Faults(drop=1.0), keep=True, parts=parts, deadline_s=4)
    with pytest.raises(DeadlinePassed):
        run(NETWORK, x, rows(), SharedMemoryRoom(folder=str(place)), options)
    assert is_clean(place)


def test_a_deadline_may_be_further_than_the_kernel_counts(x: Floats, parts: str, place: Path) -> None:
    options = RunOptions(parts=parts, deadline_s=2**31 / 1000 + 1)
    found = run(NETWORK, x, rows(), SharedMemoryRoom(folder=str(place)), options)
    assert np.array_equal(found.output, serial(NETWORK, x))
    assert is_clean(place)


def test_what_does_not_fit_is_refused_by_its_bytes(x: Floats, place: Path) -> None:
    large = ChallengeNetwork(16384, 1920)
    wide = np.zeros((16384, 1), np.float32)
    with pytest.raises(PartTooLarge, match=r"worker 0 needs 9\d{9} bytes \(8.4 GB of weights"):
        run(large, wide, assignment.serial(large, 1), options=RunOptions(memory_bytes=2 * 10**9))
    assert is_clean(place)


def test_the_kernel_enforces_the_limit(parts: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two buffers of 80 MB beside a runtime that takes most of the limit, which nobody foresaw."""
    monkeypatch.setattr(deploying, "MAPPED_RUNTIME_BYTES", 0)
    wide = np.zeros((1024, 20_000), np.float32)
    options = RunOptions(memory_bytes=500 * 10**6, parts=parts, deadline_s=60)
    spread = assignment.serial(NETWORK, 20_000)
    with pytest.raises(OutOfMemory, match="worker 0 needs more than the 500000000 bytes"):
        run(NETWORK, wide, spread, SharedMemoryRoom(folder=str(place)), options)
    assert is_clean(place)


def _capped(caps: MemoryCaps, memory_bytes: int, deployed: Deployed) -> LocalPlatform:
    return LocalPlatform(deployed, caps, memory_bytes)


def test_a_control_group_enforces_it_too(parts: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts what is resident, so the address space may be larger. Who was ended is not replaced."""
    monkeypatch.setattr(deploying, "MAPPED_RUNTIME_BYTES", 0)
    wide = np.ones((1024, 40_000), np.float32)
    options = RunOptions(memory_bytes=400 * 10**6, parts=parts, deadline_s=300, checkpoint_layers=6)
    spread = assignment.serial(NETWORK, 40_000)
    with memory_caps() as caps:
        if not isinstance(caps, MemoryCaps):
            pytest.skip(f"no control groups: {caps}")
        capped = partial(_capped, caps, options.memory_bytes)
        with pytest.raises(OutOfMemory, match="worker 0 needs more than the 400000000 bytes"):
            run(NETWORK, wide, spread, SharedMemoryRoom(folder=str(place)), options, platform=capped)
    assert is_clean(place)


def test_under_a_cap_a_run_answers_as_without(x: Floats, parts: str, place: Path) -> None:
    options = RunOptions(memory_bytes=10**9, parts=parts, deadline_s=300)
    with memory_caps() as caps:
        if not isinstance(caps, MemoryCaps):
            pytest.skip(f"no control groups: {caps}")
        capped = partial(_capped, caps, options.memory_bytes)
        found = run(NETWORK, x, rows(), SharedMemoryRoom(folder=str(place)), options, platform=capped)
    assert np.array_equal(found.output, serial(NETWORK, x))
    assert is_clean(place)


def test_what_a_killed_runs_caps_left_is_removed_with_the_groups_that_it_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with memory_caps() as caps:
        if not isinstance(caps, MemoryCaps):
            pytest.skip(f"no control groups: {caps}")
        (mine,) = tmp_path.iterdir()
        group = caps.cap("kept", 10**9)
        left = shutil.copytree(mine, mine.with_name(f"{mine.name}-left"))
        with subprocess.Popen(["true"]) as dead:
            (left / "owner").write_text(owners._identity(dead.pid))
        owners.sweep_folders(tmp_path)
        assert left.exists(), "who knows nothing of groups leaves it"
        assert group.folders
        with memory_caps():
            assert not left.exists()
        assert not any(folder.exists() for folder in group.folders.values())
        assert mine.exists(), "that of a living run stays"
    assert list(tmp_path.iterdir()) == []


def test_two_runs_with_one_name(x: Floats, place: Path) -> None:
    with SharedMemoryRoom(folder=str(place)).open("taken", 1), pytest.raises(RunExists):
        run(NETWORK, x, rows(), SharedMemoryRoom(folder=str(place)), name="taken")
    assert is_clean(place)


def test_what_a_killed_run_left_in_the_channel_s_own_folder_is_removed_first(
    x: Floats, parts: str, place: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    left = folder / "glowplug-run-abc"
    left.mkdir(parents=True)
    with subprocess.Popen(["true"]) as dead:
        (left / "owner").write_text(owners._identity(dead.pid))
    run(NETWORK, x, rows(), SharedMemoryRoom(str(folder)), RunOptions(parts=parts))
    assert list(folder.iterdir()) == []


def test_inputs_that_do_not_fit(x: Floats) -> None:
    with pytest.raises(InvalidArguments, match="reads 1024 rows"):
        run(NETWORK, x[:5], rows())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_whoever_started_them(number: signal.Signals, parts: str, tmp_path: Path) -> None:
    """An interrupt also leaves nothing in files; a kill can only take the processes with it."""
    script = f"""
import tempfile
from tests.distributed.test_runs import *
tempfile.tempdir = {str(tmp_path)!r}
options = RunOptions(faults=Faults(drop=1.0), keep=True, parts={parts!r}, deadline_s=1000)
watch = lambda worker, step: print(worker, flush=True)
run(NETWORK, small_inputs(1024, SAMPLES), rows(), SharedMemoryRoom(folder={str(tmp_path)!r}), options,
watch=watch)
"""
    runner = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert runner.stdout is not None
    assert runner.stdout.readline(), "a worker has begun"
    workers = descendants(runner.pid)
    assert len(workers) > 1, "a zygote and a worker"
    handles = [os.pidfd_open(pid) for pid in workers]
    until_s = time.monotonic() + WAIT_S
    while runner.poll() is None and time.monotonic() < until_s:
        # An interrupt may come just before it waits, and then it is not noticed until there is another.
        runner.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            runner.communicate(timeout=AGAIN_S)
    assert runner.poll() is not None
    for handle in handles:
        assert _ended(handle), "a worker outlives whoever started it"
        os.close(handle)
    if number == signal.SIGINT:
        assert list(tmp_path.iterdir()) == []


def _ended(handle: int) -> bool:
    import select

    return bool(select.select([handle], [], [], WAIT_S)[0])
