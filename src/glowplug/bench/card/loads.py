"""Parts `copies` and `loads` of `card`: bytes to a device, and models from a file to an answer there."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from glowplug import loader
from glowplug.bench.answers import TOLERANCE
from glowplug.bench.loading.models import answer_of, zoo
from glowplug.bench.result import spread
from glowplug.loader.construct import without_init
from glowplug.loader.devices import device as device_called

Answer = Callable[[], Any]


def copies(device: str, nbytes: int, repeats: int) -> list[dict[str, Any]]:
    """Whole copies of `nbytes` to the device from pinned, pageable and mapped memory."""
    found = []
    there = device_called(device)
    sources = {"pinned": there.staging(nbytes), "pageable": memoryview(bytearray(nbytes))}
    for name, source in sources.items():
        source[:] = bytes(1) * nbytes
        seconds = []
        for _ in range(repeats + 1):
            reservation = there.reserve(nbytes)
            start_s = time.perf_counter()
            there.place(source, reservation).wait()
            seconds.append(time.perf_counter() - start_s)
            there.release(reservation)
        copied_s = seconds[1:]
        found.append(
            {"part": "copies", "source": name, "nbytes": nbytes, **spread("copied_s", copied_s),
             "bandwidth": nbytes / max(statistics.median(copied_s), 1e-9)}
        )  # fmt: skip
    return found


def rows(
    model: str, device: str, systems: Sequence[str], bandwidth: float, repeats: int, folder: Path
) -> list[dict[str, Any]]:
    """One a system, all asked in turn; none checks for damage what lies on this machine's disk. `equal`
    compares with a plain forward there."""
    import torch

    entry, pack = zoo()[model], folder / f"{model}.pack"
    plain, plain_file = seeded(model, folder)
    loader.pack(plain, entry.example(), pack)
    inputs = tuple(each.to(device) for each in entry.example())
    plain.to(device)
    with torch.inference_mode():
        expected = answer_of(plain, inputs).cpu()
        again = partial(answer_of, plain, inputs)
        forward_s = statistics.median(_timed(again)[0] for _ in range(7))
    nbytes = sum(tensor.nbytes for tensor in plain.state_dict().values())
    del again, plain
    ways: dict[str, Callable[[], Any]] = {
        name: partial(way, entry, plain_file, device) for name, way in BASELINES.items()
    }
    for name in systems:
        ways[name] = partial(loader.load, pack, device, name, build=entry.build, verify=False)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    off = dict.fromkeys(ways, 0.0)
    for _ in range(repeats + 1):
        for name, way in ways.items():
            gc.collect()
            with torch.inference_mode():
                took_s, answer = _timed(partial(_answer, way, inputs))
            seconds[name].append(took_s)
            off[name] = max(off[name], float((answer - expected).abs().max()))
    floor_s = nbytes / bandwidth + forward_s
    return [
        {
            "part": "loads", "model": model, "system": name, "nbytes": nbytes, "forward_s": forward_s,
            **spread("first_answer_s", seconds[name][1:]), "floor_s": floor_s,
            "times_floor": statistics.median(seconds[name][1:]) / floor_s,
            "difference": off[name], "equal": off[name] <= TOLERANCE,
        }
        for name in ways
    ]  # fmt: skip


def seeded(model: str, folder: Path) -> tuple[Any, Path]:
    """(an architecture of the zoo with seeded weights, the file in `folder` that holds them)."""
    import torch
    from safetensors.torch import save_file

    file = folder / f"{model}.safetensors"
    torch.manual_seed(0)
    found = zoo()[model].build().eval()
    if not file.exists():
        save_file({name: each.clone() for name, each in found.state_dict().items()}, file)
    return found, file


def _answer(way: Callable[[], Any], inputs: tuple[Any, ...]) -> Any:
    return answer_of(way(), inputs)


def _timed(work: Answer) -> tuple[float, Any]:
    """Seconds until the answer is in host memory, and the answer."""
    start_s = time.perf_counter()
    answer = work().cpu()
    return time.perf_counter() - start_s, answer


def _to(entry: Any, file: Path, device: str) -> Any:
    """As most people write it: built and filled in host memory, then moved."""
    from safetensors.torch import load_file

    model = entry.build()
    model.load_state_dict(load_file(file))
    return model.eval().to(device)


def _direct(entry: Any, file: Path, device: str) -> Any:
    """As the careful write it: built on no memory, weights read straight to the device and assigned."""
    import torch
    from safetensors.torch import load_file

    with without_init(), torch.device(device):
        model = entry.build()
    model.load_state_dict(load_file(file, device=device), assign=True)
    return model.eval()


BASELINES: dict[str, Callable[[Any, Path, str], Any]] = {"torch .to": _to, "safetensors to device": _direct}
