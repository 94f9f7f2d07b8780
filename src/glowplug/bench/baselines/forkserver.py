"""What a good engineer writes in twenty lines: multiprocessing's fork server, with every library imported.

    FORKSERVER_MODULES="MODULE ..." python forkserver.py DESCRIPTOR

PYTHONPATH names this folder and `examples`, of whose `plain` the modules are. Per request a fresh child
constructs without initialisation, maps the safetensors file, assigns its tensors, and answers.

DESCRIPTOR is an inherited end of a socket pair that carries multiprocessing's messages. Out comes None when
all is imported. In goes `(module, weights)`, which forks a child; the child itself then takes `(sent_s,
request)` from the same socket, sent_s being the client's `time.monotonic()`, and answers `(answer, phases)`;
then for each count it sends that many warm times in seconds, until None ends it and the next `(module,
weights)` is due.
"""

from __future__ import annotations

import importlib
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from typing import Any


def answer_one(connection: Connection[Any, Any], module: str, weights: str) -> None:
    """The child: one cold answer, then as many warm ones as are asked for."""
    started_s = time.monotonic()
    import torch
    from safetensors.torch import load_file

    plain = importlib.import_module(f"plain.{module}")
    sent_s, request = connection.recv()
    marks = [sent_s, started_s, time.monotonic()]
    with torch.inference_mode():
        model = plain.build()
        tools = plain.setup()
        marks.append(time.monotonic())
        state = load_file(weights)
        marks.append(time.monotonic())
        model.load_state_dict(state, assign=True)
        model.eval()
        marks.append(time.monotonic())
        answer = plain.answer(model, tools, request)
        marks.append(time.monotonic())
        names = ("fork", "import", "build", "fetch", "apply", "first_compute")
        phases = {name: end - start for name, start, end in zip(names, marks, marks[1:], strict=False)}
        connection.send((answer, phases))

        while (count := connection.recv()) is not None:
            warm_s = []
            for _ in range(count):
                start_s = time.monotonic()
                plain.answer(model, tools, request)
                warm_s.append(time.monotonic() - start_s)
            connection.send(warm_s)


def main(descriptor: int) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "forkserver_preload"])
    # The first child exists only to wait for the imports.
    first = context.Process()
    first.start()
    first.join()
    connection: Connection[Any, Any] = Connection(descriptor)
    connection.send(None)
    try:
        while True:
            module, weights = connection.recv()
            child = context.Process(target=answer_one, args=(connection, module, weights))
            child.start()
            child.join()
    except EOFError:
        return


if __name__ == "__main__":
    main(int(sys.argv[1]))
