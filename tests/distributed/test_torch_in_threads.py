"""Torch models over workers that are threads of this process, over the memory channel."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from glowplug.distributed import carry, torch_work  # noqa: E402
from glowplug.distributed.channels.base import MessageKey  # noqa: E402
from glowplug.distributed.channels.memory import MemoryRoom  # noqa: E402
from glowplug.distributed.channels.registry import join  # noqa: E402
from glowplug.distributed.cutting import best_cut  # noqa: E402
from glowplug.distributed.exchange import Exchange  # noqa: E402
from glowplug.distributed.frame import Kind  # noqa: E402
from glowplug.distributed.phases import Phases  # noqa: E402
from glowplug.distributed.platform_line import Response, Told  # noqa: E402
from glowplug.distributed.post import Parcel  # noqa: E402
from glowplug.distributed.run_options import RunOptions  # noqa: E402
from glowplug.distributed.stages import Call, Stage  # noqa: E402
from glowplug.distributed.start import Place, Start  # noqa: E402
from glowplug.distributed.timing import Timing  # noqa: E402
from glowplug.distributed.torch_deploying import TorchDeployed, TorchWay, deploy_torch  # noqa: E402
from glowplug.distributed.torch_loop import serve  # noqa: E402
from glowplug.distributed.torch_values import same_bits  # noqa: E402
from tests.distributed import stage_nets as nets  # noqa: E402
from tests.distributed.threads import ThreadLine, work_in_threads  # noqa: E402

pytestmark = pytest.mark.torch
MODULES = Path(__file__).parents[2]
SAMPLES = 9
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Workers change what is a process's."""
    threads, path = torch.get_num_threads(), [*sys.path]
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    sys.path[:] = path


def model(make: Callable[[], Any]) -> Any:
    torch.manual_seed(0)
    return make().eval()


def inputs() -> list[Any]:
    """No two alike."""
    return [((torch.arange(20).reshape(2, 10) * n + n) % 50,) for n in range(1, 5)]


def way(net: Any, workers: int) -> TorchWay:
    if workers == 1:
        return TorchWay()
    chain, starts = best_cut(net, lambda: net(*inputs()[0]), workers, 0)
    return TorchWay(1, tuple(chain), starts)


def expected(net: Any) -> list[Any]:
    with torch.inference_mode():
        return [net(*given) for given in inputs()]


def ran(net: Any, spread: TorchWay, folder: Path, **options: Any) -> tuple[list[Any], list[Response]]:
    settings = RunOptions(**{"deadline_s": 120.0, **options})
    lines = [ThreadLine() for _ in range(spread.workers)]
    with MemoryRoom().open(f"torch-threads-{next(_numbers)}", spread.workers) as room:
        deployed = deploy_torch(net, inputs(), SAMPLES, spread, room.address, settings, folder, MODULES)
        work_in_threads(torch_work.work, deployed.path, room.run, lines, settings)
    return deployed.outputs(), [line.response for line in lines]


def is_equal(outputs: Sequence[Any], right: Sequence[Any]) -> bool:
    return len(outputs) == SAMPLES and all(
        same_bits(output, right[n % len(right)]) for n, output in enumerate(outputs)
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_may_work_in_place_on_what_it_is_given(tmp_path: Path, workers: int) -> None:
    net = model(nets.Shifts)
    outputs, _ = ran(net, way(net, workers), tmp_path)
    assert is_equal(outputs, expected(net))


@pytest.mark.parametrize("background", [False, True], ids=["inline", "background"])
def test_calls_of_a_model_that_keeps_something_are_not_mixed_up(tmp_path: Path, background: bool) -> None:
    net = model(nets.Remembers)
    right = expected(net)
    outputs, (head, *others) = ran(net, way(net, 3), tmp_path, background=background)
    assert is_equal(outputs, right)
    assert head.note.startswith("took one sample at a time, for what its model keeps of a call on the model")
    assert not any(each.note for each in others)


def test_a_model_that_keeps_nothing_is_not_slowed_down(tmp_path: Path) -> None:
    net = model(nets.Transformer)
    outputs, responses = ran(net, way(net, 3), tmp_path)
    assert is_equal(outputs, expected(net))
    assert not any(each.note for each in responses)


class LatePost:
    """Gives a stage its samples, and wraps what it sends only when it is done."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls = list(calls)
        self.parcels: list[Parcel] = []

    def send(self, step: int, parcels: Sequence[Parcel]) -> None:
        self.parcels += parcels

    def wait(self, step: int) -> dict[int, Any]:
        return {0: tuple(self.calls.pop(0))}

    def wait_until(self, targets: object, step: int, most_stalls: int | None = None) -> None: ...

    def done(self, step: int) -> None: ...

    def settle(self, step: int) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


def deployed_transformer(folder: Path, **options: Any) -> TorchDeployed:
    net = model(nets.Transformer)
    with MemoryRoom().open(f"torch-threads-{next(_numbers)}", 2) as room:
        return deploy_torch(
            net, inputs(), SAMPLES, way(net, 2), room.address, RunOptions(**options), folder, MODULES
        )


def test_what_a_stage_writes_to_again_is_sent_as_it_was(tmp_path: Path) -> None:
    orders = deployed_transformer(tmp_path).orders
    given = [torch.full((3, 16), float(n)) for n in range(SAMPLES)]
    post = LatePost([Call(each, (), {}) for each in given])
    stage = Stage([nets.Overwrites()])
    with torch.inference_mode():
        serve(orders, orders.seat(1), stage, 0, post, Phases(), lambda *_: None)
    sent = [carry.unpack(wrap()[1]) for _, wrap in post.parcels]
    assert all(map(same_bits, sent, [each + 1 for each in given]))


def test_out_of_memory_in_a_model_is_that(tmp_path: Path) -> None:
    with pytest.raises(MemoryError):
        ran(model(nets.Hungry), TorchWay(), tmp_path)


def test_who_keeps_what_it_sent_stays_while_others_may_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its head says nothing for a hundred looks."""
    silences = 100
    net = model(nets.Transformer)
    options = RunOptions(deadline_s=1e9, keep=True)
    with MemoryRoom().open(f"torch-threads-{next(_numbers)}", 2) as room:
        deployed = deploy_torch(net, inputs(), SAMPLES, way(net, 2), room.address, options, tmp_path, MODULES)
        orders, end = deployed.orders, join(room.address, 0)
        seat = orders.seat(0)
        head = Exchange(
            Place(room.run, 0), seat.sources(), seat.targets(), first=orders.step(0, 1), limit_bytes=2**20,
            generation=orders.generation,
        )  # fmt: skip
        call = Call(torch.ones(2, 10, 16), (torch.ones(2, 10, 1),), {"scale": 0.5})
        body = carry.pack(tuple(call))
        for sample in range(SAMPLES):
            end.send(head.send(seat.sends(sample), seat.target, Kind.BYTES, body))

        class Line(ThreadLine):
            looks = 0

            def tell(self, what: Told) -> None:
                super().tell(what)
                if isinstance(what, Response):
                    self.looks = silences

        line = Line()

        class Counting:
            """The worker's end. It counts looks once the worker has told what it did."""

            def __init__(self, inner: Any) -> None:
                self.inner = inner

            def __getattr__(self, name: str) -> Any:
                return getattr(self.inner, name)

            def receive(self, wanted: set[MessageKey], timeout_s: float) -> Any:
                line.looks -= line.looks > 0
                if line.looks == 1:
                    end.send(head.done(orders.gather + 1))
                return self.inner.receive(wanted, 0.0)

        ticks = itertools.count()

        def joined(*_: Any) -> Any:
            clock = Timing(1.0, 0.0, 1e9, clock=lambda: float(next(ticks)))
            return Counting(join(room.address, 1)), clock

        monkeypatch.setattr(torch_work, "joined", joined)
        start = Start(orders=str(deployed.path), place=Place(room.run, 1), deadline_s=1e9, work="torch")
        torch_work.work(start, line, time.monotonic())
    assert line.response.keeps
    assert line.looks == 1, "it left before"
