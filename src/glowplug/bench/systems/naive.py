"""The naive start: a fresh python for every cold request. See baselines/naive.py."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from glowplug.bench.models import BenchModel, examples_dir, weights_files
from glowplug.bench.systems import Held, Measurement
from glowplug.bench.systems.processes import end_tree
from glowplug.loader.pagecache import evict_page_cache, page_cache_bytes

SCRIPT = Path(__file__).parents[1] / "baselines" / "naive.py"


class NaiveSystem:
    """Holds nothing between requests but its weights' file, as far as the page cache has it.

    `folder` keeps converted weights and the requests' files.
    """

    name = "naive"

    def __init__(self, folder: Path, warm_repeats: int) -> None:
        self._folder = folder
        self._warm_repeats = warm_repeats

    def steps(self) -> tuple[str, ...]:
        return ("local",)

    def measure(self, model: BenchModel, request: Any, step: str, cache: str) -> Measurement:
        asked = self._request_file(model, request)
        weights, _ = weights_files(model, self._folder)
        if cache == "cold":
            evict_page_cache(weights)
        else:
            weights.read_bytes()
        held = Held(own_bytes=0, environment_bytes=0, weights_bytes=page_cache_bytes(weights))
        environment = {**os.environ, "PYTHONPATH": str(examples_dir())}
        sent_s = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), model.name, str(weights), str(asked), repr(sent_s)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
            process_group=0,  # Ctrl-C is for whoever started it, and ends this one
        )  # fmt: skip
        try:
            cold = _read(process)
            latency_s = time.monotonic() - sent_s
            assert process.stdin is not None
            process.stdin.write(b"%d\n" % self._warm_repeats)
            process.stdin.flush()
            warm_s = statistics.median(_read(process)["warm_s"])
            process.stdin.close()
            process.wait()
        finally:
            end_tree(process)
        phases = cold["phases"]
        phases["reply"] = max(0.0, latency_s - sum(phases.values()))
        return Measurement(cold["answer"], latency_s, warm_s, phases, held)

    def close(self) -> None:
        """Nothing runs between requests."""

    def _request_file(self, model: BenchModel, request: Any) -> Path:
        is_array = isinstance(request, np.ndarray)
        path = self._folder / f"{model.name}{'.npy' if is_array else '.json'}"
        if is_array:
            np.save(path, request)
        else:
            path.write_text(json.dumps(request), encoding="utf-8")
        return path


def _read(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the naive start ended without an answer, with status {process.wait()}")
    found: dict[str, Any] = json.loads(line)
    return found
