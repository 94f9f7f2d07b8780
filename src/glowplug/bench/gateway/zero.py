"""From zero: a request to a function that nothing runs for, ours by step and Ray Serve's `min_replicas=0`.

Each visit starts a server alone and asks once before anything is timed, so that what a server prepares only
once (a proxy's connection, an environment) is in no time here.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from glowplug.bench.answers import difference
from glowplug.bench.apps import APPS
from glowplug.bench.gateway.asks import TOLERANCE, Ask, ours, plain, right_answer
from glowplug.bench.gateway.cells import FAILURES, answer, check, first_answer
from glowplug.bench.harness import running_server
from glowplug.bench.models import MODELS, examples_dir, plain_answers, request_of, weights_files
from glowplug.bench.peers.serving import CONTENDERS, Served, lacks, running
from glowplug.bench.result import spread
from glowplug.core.bodies import OCTETS, encode_arguments

FUNCTIONS = {"trivial": "echo", "resnet50": "resnet50"}
STEPS = ("imported", "staged", "parked")
VISITS = 3
PEERS = {"ray": 1, "ray-tuned": VISITS}
"""How often each is visited by one start. By its defaults Ray takes half a minute to let a replica go."""
ZERO_S = 180.0
POLL_S = 0.05
Row = dict[str, Any]


class _Found(msgspec.Struct):
    latencies_s: list[float]
    differences: list[float]


def zero_rows(repeats: int, threads: int, tell: Callable[[str], None]) -> tuple[list[Row], list[str]]:
    """(rows, what is missing), the systems alternating within each repeat."""
    missing = [f"from zero, {name}: {reason}" for name in PEERS if (reason := lacks(CONTENDERS[name]))]
    functions = [name for name in FUNCTIONS if name == "trivial" or not MODELS[name].lacks]
    missing += [f"from zero, {name}: install torch" for name in FUNCTIONS if name not in functions]
    peers = [name for name in PEERS if lacks(CONTENDERS[name]) is None]
    found: dict[tuple[str, str, str], _Found] = {}
    with tempfile.TemporaryDirectory(prefix="glowplug-zero-") as folder:
        rights = {name: _right(name) for name in functions}
        for repeat in range(repeats):
            tell(f"from zero, repeat {repeat + 1}: glowplug")
            _ours(functions, rights, threads, Path(folder) / f"state-{repeat}", found)
            for peer in peers:
                for function in functions:
                    tell(f"from zero, repeat {repeat + 1}: {peer} {function}")
                    try:
                        _ray(peer, function, rights[function], threads, Path(folder), found)
                    except FAILURES as error:
                        missing.append(f"from zero, {peer} {function}, repeat {repeat + 1}: {error}")
    return [_row(key, each) for key, each in found.items()], missing


def _ours(
    functions: list[str], rights: dict[str, Any], threads: int, folder: Path,
    found: dict[tuple[str, str, str], _Found],
) -> None:  # fmt: skip
    files = [APPS / "served.py"] + [examples_dir() / MODELS[name].app for name in functions if name in MODELS]
    with running_server(files, folder, options=("--threads", str(threads))) as server:
        # `served.py` declares two functions.
        server.wait_deployed(len(files) + 1)
        for function in functions:
            ask = ours("echo") if function == "trivial" else _our_model(function)
            check(first_answer(server, ask), ask, rights[function])
            for step in STEPS:
                for _ in range(VISITS):
                    server.stand_at(FUNCTIONS[function], step)
                    _timed(server.url, ask, rights[function], found, ("glowplug", function, step))


def _ray(
    peer: str, function: str, right: Any, threads: int, folder: Path,
    found: dict[tuple[str, str, str], _Found],
) -> None:  # fmt: skip
    variables = {"SERVING_FROM_ZERO": "1"}
    ask = plain("echo")
    if function in MODELS:
        variables["SERVING_WEIGHTS"] = str(weights_files(MODELS[function], folder)[1])
        ask = Ask(
            "/", {"Content-Type": OCTETS}, request_of(MODELS[function]).tobytes(), json.loads, "raw bytes"
        )
    with running(CONTENDERS[peer], FUNCTIONS[function], threads, variables) as server:
        check(first_answer(server, ask), ask, right)
        for _ in range(PEERS[peer]):
            _again(server)
            _timed(server.url, ask, right, found, (peer, function, "no replica"))


def _again(server: Served) -> None:
    """Waits until no replica is left. Raises RuntimeError, TimeoutError."""
    zero = server.folder / "zero"
    zero.unlink(missing_ok=True)
    deadline_s = time.monotonic() + ZERO_S
    while not zero.exists():
        server.check_alive()
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{server.name} still had replicas after {ZERO_S:.0f} s")
        time.sleep(POLL_S)


def _timed(
    url: str, ask: Ask, right: Any, found: dict[tuple[str, str, str], _Found], key: tuple[str, str, str]
) -> None:
    start_s = time.monotonic()
    said = answer(url, ask)
    took_s = time.monotonic() - start_s
    into = found.setdefault(key, _Found([], []))
    into.latencies_s.append(took_s)
    into.differences.append(difference(said, right))


def _our_model(name: str) -> Ask:
    model = MODELS[name]
    content_type, body = encode_arguments({model.argument: request_of(model)})
    path = f"/function/{model.function}/{model.endpoint}"
    return Ask(path, {"Content-Type": content_type}, body, json.loads, ".npy")


def _right(function: str) -> Any:
    if function == "trivial":
        return right_answer("echo")
    return plain_answers(MODELS[function], [request_of(MODELS[function])])[0]


def _row(key: tuple[str, str, str], found: _Found) -> Row:
    system, function, standing = key
    off = max(found.differences)
    return {
        "part": "zero", "system": system, "function": function, "standing": standing,
        "visits": len(found.latencies_s), **spread("latency_s", found.latencies_s), "difference": off,
        "equal": off <= TOLERANCE,
    }  # fmt: skip
