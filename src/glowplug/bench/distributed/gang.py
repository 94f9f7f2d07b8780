"""Part `gang` of `distributed`: answers a second of a transformer on one worker, on a gang that has one
request at a time, and on one in which several are under way, each in another part: the micro-batches of a
pipeline.

Ordinary requests to an ordinary server. The three alternate, so that a busy machine harms all alike.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from glowplug.bench.distributed.options import Options, Tell
from glowplug.bench.harness import RunningServer, running_server
from glowplug.bench.result import Claim, claim, spread
from glowplug.client import Client
from glowplug.core.bodies import NPY

WAYS = {"one": (1, 1), "gang": (2, 1), "pipelined": (2, 4)}
"""Workers, and how many requests they may have at a time."""
ROUND_S = 4.0
_TOKENS = list(range(64))
_SOURCE = '''"""Written by `glowplug bench distributed`."""

import torch
from torch import nn

import glowplug

app = glowplug.App("gang")


class Asked:
    def build(self):
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True, dropout=0.0)
        layers = nn.TransformerEncoder(layer, 12, enable_nested_tensor=False)
        return nn.Sequential(nn.Embedding(64, 256), *layers.layers, nn.Linear(256, 8))

    def example(self):
        return {"tokens": list(range(64))}

    @glowplug.endpoint
    def forward(self, tokens: list[int]) -> torch.Tensor:
        return self.model(torch.tensor([tokens]))


def declared(name, workers, at_a_time):
    made = type(name.title(), (Asked,), {"__module__": __name__})
    several = {"target_concurrency": at_a_time} if at_a_time > 1 else {}
    declare = app.model(libraries=["torch"], name=name, workers=workers, threads=1, max_workers=1, **several)
    return declare(made)


for way, numbers in WAYS.items():
    globals()[way.title()] = declared(way, *numbers)
'''


def run(options: Options, tell: Tell) -> tuple[list[dict[str, Any]], list[Claim], list[str]]:
    """A row for each way. Raises RuntimeError when the server or a deploy fails."""
    rates: dict[str, list[float]] = defaultdict(list)
    with _served() as server, ExitStack() as closing:
        most = max(at_a_time for _, at_a_time in WAYS.values())
        clients = [closing.enter_context(Client(server.url)) for _ in range(most)]
        answers = {way: _asked(clients[0], way) for way in WAYS}
        for number in range(options.repeats):
            for way, (_, at_a_time) in WAYS.items():
                tell(f"gang: {way}, {number + 1} of {options.repeats}")
                rates[way].append(_rate(clients[:at_a_time], way))
    rows = [_row(way, rates[way], np.array_equal(answers[way], answers["one"])) for way in WAYS]
    rate = {row["plan"]: row["rate"] for row in rows}
    claims = [
        claim("gang: answers unlike one worker's", sum(not row["equal"] for row in rows), "at most", 0),
        claim(
            "gang, four at a time: its rate / one worker's", rate["pipelined"] / rate["one"], "at least", 1
        ),
    ]
    return rows, claims, []


@contextmanager
def _served() -> Iterator[RunningServer]:
    with tempfile.TemporaryDirectory(prefix="glowplug-gang-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        source = folder / "gang_app.py"
        source.write_text(_SOURCE.replace("WAYS.items()", f"{WAYS!r}.items()"), encoding="utf-8")
        with running_server([source], folder / "state") as server:
            server.wait_deployed(len(WAYS))
            yield server


def _asked(client: Client, way: str) -> Any:
    return client.invoke(way, {"tokens": _TOKENS}, "forward", accept=NPY)


def _rate(clients: list[Client], way: str) -> float:
    """Answers a second while each client asks one after another."""
    _asked(clients[0], way)
    began_s = time.monotonic()

    def ask(client: Client) -> int:
        many = 0
        while time.monotonic() - began_s < ROUND_S:
            _asked(client, way)
            many += 1
        return many

    with ThreadPoolExecutor(len(clients)) as pool:
        answered = sum(pool.map(ask, clients))
    return answered / (time.monotonic() - began_s)


def _row(way: str, rates: list[float], equal: bool) -> dict[str, Any]:
    workers, at_a_time = WAYS[way]
    return {
        "part": "gang",
        "system": "ours",
        "plan": way,
        "channel": "shared_memory",
        "neurons": 256,
        "layers": 12,
        "workers": workers,
        "at_a_time": at_a_time,
        "seed": 0,
        **spread("rate", rates),
        "total_s": 1 / statistics.median(rates),
        "usd": None,
        "bytes_sent": None,
        "rows_sent": None,
        "predicted_s": None,
        "predicted_usd": None,
        "delay_model": None,
        "equal": equal,
        "simulated": False,
    }
