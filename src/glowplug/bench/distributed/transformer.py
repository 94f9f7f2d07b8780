"""Part `transformer` of `distributed`: a transformer that no worker may hold answers an HTTP request.

An ordinary function of an ordinary server says `memory=` and `workers="auto"`. Its pages are out of memory
when it is asked first, so what its workers hold is read by themselves, under their own control groups. The
same model on one worker, which may hold it, tells what is right, to the bit.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from glowplug.bench.distributed.options import Options, Tell
from glowplug.bench.harness import RunningServer, running_server
from glowplug.bench.result import Claim, claim, spread
from glowplug.bench.systems.processes import descendants, named
from glowplug.client import Client
from glowplug.core.bodies import NPY
from glowplug.core.units import show_bytes
from glowplug.node.machine_memory import read_memory
from glowplug.node.procfs import memory_fields

Rows = list[dict[str, Any]]
WIDTH = 1024
LAYER_BYTES = 4 * (12 * WIDTH**2 + 13 * WIDTH)
"""Of attention and of two linear layers, the inner one four times as wide, with biases and norms."""
_BUDGETED = 4
"""Times the model: a build holds it whole, its pack is written meanwhile, and the server may hold both."""
_TOKENS = list(range(32))
_SERVED = ("whole", "spread")
_SOURCE = '''"""Written by `glowplug bench distributed`."""

import torch
from torch import nn

import glowplug

app = glowplug.App("transformer")


class Asked:
    def build(self):
        torch.manual_seed(0)
        layer = lambda: nn.TransformerEncoderLayer(WIDTH, 16, 4 * WIDTH, batch_first=True, dropout=0.0)
        blocks = [layer() for _ in range(LAYERS)]
        return nn.Sequential(nn.Embedding(64, WIDTH), *blocks, nn.Linear(WIDTH, 8))

    def example(self):
        return {"tokens": list(range(32))}

    @glowplug.endpoint
    def forward(self, tokens: list[int]) -> torch.Tensor:
        return self.model(torch.tensor([tokens]))


@app.model(libraries=["torch"], name="whole", max_workers=1)
class Whole(Asked):
    pass


@app.model(libraries=["torch"], name="spread", max_workers=1, workers="auto", memory=MEMORY)
class Spread(Asked):
    pass
'''


def run(options: Options, tell: Tell) -> tuple[Rows, list[Claim], list[str]]:
    """A row for the model on one worker, and one for it on several. Raises RuntimeError when the server or a
    deploy fails."""
    need_bytes, free_bytes = _BUDGETED * _model_bytes(options), read_memory().available_bytes
    if need_bytes > free_bytes:
        lacking = (
            f"transformer: it needs {show_bytes(need_bytes)} of memory, {show_bytes(free_bytes)} is free"
        )
        return [], [], [lacking]
    with _served(options, tell) as server, Client(server.url) as client:
        found = [_asked(options, server, client, name, tell) for name in _SERVED]
    answers = [answer for _, answer in found]
    rows = [row | {"equal": np.array_equal(answer, answers[0])} for row, answer in found]
    return rows, _claims(options, rows[-1]), []


@contextlib.contextmanager
def _served(options: Options, tell: Tell) -> Iterator[RunningServer]:
    """Both deployed."""
    model_bytes = _model_bytes(options)
    told = {"WIDTH": WIDTH, "LAYERS": options.transformer_layers, "MEMORY": options.capped_bytes}
    with tempfile.TemporaryDirectory(prefix="glowplug-transformer-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        source = folder / "transformer_app.py"
        numbers = "".join(f"{each} = {number}\n" for each, number in told.items())
        source.write_text(_SOURCE.replace("\napp = ", f"\n{numbers}\napp = "), encoding="utf-8")
        with running_server([source], folder / "state", _BUDGETED * model_bytes) as server:
            tell(f"transformer: deploying {model_bytes / 1e9:.1f} GB, twice")
            server.wait_deployed(len(_SERVED))
            yield server


def _asked(
    options: Options, server: RunningServer, client: Client, name: str, tell: Tell
) -> tuple[dict[str, Any], Any]:
    """Its row, with what was answered."""
    server.stand_at(name, "local", "cold")
    tell(f"transformer: {name}, from the disk")
    began_s = time.monotonic()
    answer = _answer(client, name)
    cold_s = time.monotonic() - began_s
    warm_s = []
    for number in range(options.repeats):
        tell(f"transformer: {name}, warm, {number + 1} of {options.repeats}")
        began_s = time.monotonic()
        _answer(client, name)
        warm_s.append(time.monotonic() - began_s)
    pids = descendants(server.process.pid)
    held = [pid for role in ("worker", "part") for pid in named(f"{role}:{name}.default", pids)]
    row = {
        "part": "transformer",
        "system": "ours",
        "plan": name,
        "channel": "shared_memory" if len(held) > 1 else "none",
        "layers": options.transformer_layers,
        "model_bytes": _model_bytes(options),
        "workers": len(held),
        "cold_s": cold_s,
        **spread("total_s", warm_s),
        "peak_bytes": max(_peak_bytes(pid) for pid in held),
        "resident_bytes": max(memory_fields(pid).get("Rss", 0) for pid in held),
        "memory_bytes": options.capped_bytes if name == "spread" else None,
        "limits_bytes": [_of_group(pid, "memory.max", "memory.limit_in_bytes") for pid in held],
        "simulated": False,
    }
    server.stand_at(name, "local", "cold")
    return row, answer


def _model_bytes(options: Options) -> int:
    return options.transformer_layers * LAYER_BYTES


def _answer(client: Client, name: str) -> Any:
    return client.invoke(name, {"tokens": _TOKENS}, "forward", accept=NPY)


def _peak_bytes(pid: int) -> int:
    """The most that a worker's control group held: what its processes wrote, and the pages of weights that
    they were the first to read. Without such groups what is resident of it."""
    return _of_group(pid, "memory.peak", "memory.max_usage_in_bytes") or memory_fields(pid).get("Rss", 0)


def _of_group(pid: int, unified: str, legacy: str) -> int | None:
    """What a file of a process's control group says; None where there is none."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, kinds, group = line.split(":", 2)
        folder, file = ("", unified) if not kinds else ("memory", legacy)
        if kinds in ("", "memory"):
            with contextlib.suppress(OSError, ValueError):
                return int((Path("/sys/fs/cgroup") / folder / group.lstrip("/") / file).read_text())
    return None


def _claims(options: Options, row: dict[str, Any]) -> list[Claim]:
    most_bytes = options.capped_bytes
    return [
        claim("transformer: the model_bytes", row["model_bytes"], "at least", most_bytes + 1),
        claim("transformer: most that a worker held_bytes", row["peak_bytes"], "at most", most_bytes),
        claim("transformer: workers", row["workers"], "at least", 2),
        claim("transformer: answers unlike one worker's", int(not row["equal"]), "at most", 0),
    ]
