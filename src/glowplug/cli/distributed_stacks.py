"""Torch models whose rows can be spread: stacks of sparse linear layers, and what they are run on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from glowplug.cli.model_files import opened, running
from glowplug.core.errors import InvalidDeclaration
from glowplug.distributed.errors import NotAStack

if TYPE_CHECKING:
    from glowplug.distributed.example_network import ExampleNetwork
    from glowplug.distributed.network import Floats

_LOOKED_AT = 64
"""So many samples' answers are compared with the model's own."""


def stack_of(model: str, example: str) -> ExampleNetwork:
    """FILE:NAME of a callable that returns the model; `example` beside it returns a row or several, as the
    model takes them, or a list of such.

    Raises NotAStack, also where the model itself answers something else than the network would;
    InvalidDeclaration for what the file has not, or raises.
    """
    import numpy as np

    from glowplug.distributed.example_network import ExampleNetwork
    from glowplug.distributed.torch_network import is_answer, sparse_network_of

    file, built, given = opened(model, example)
    try:
        network = sparse_network_of(built)
    except NotAStack as error:
        raise NotAStack(
            f"{model} is no stack of sparse linear layers, whose rows could be spread: {error}; other "
            "plans than rows take it as it is",
            "model",
        ) from error
    several = given if isinstance(given, list) else [given]
    found = []
    for each in several:
        with running(file, example):
            found.append(_samples(each, network.inputs))
    x = np.concatenate(found, axis=1) if found else np.empty((network.inputs, 0), np.float32)
    if not x.shape[1]:
        raise InvalidDeclaration(f"{file}: {example}() returns no sample")
    with running(file, example):
        answer = _answer(built, several[0], network.rows(network.layers - 1))
    if not is_answer(network, found[0][:, :_LOOKED_AT], answer[:, :_LOOKED_AT]):
        raise NotAStack(f"{model} answers something else than its layers alone would", "model")
    opened.cache_clear()  # a run needs the network alone
    return ExampleNetwork(model, network, x)


def _samples(given: Any, inputs: int) -> Floats:
    """(inputs, samples), of what a model is called with: a tensor, alone or in a tuple or a mapping."""
    import numpy as np

    if isinstance(given, (tuple, Mapping)):
        (given,) = given.values() if isinstance(given, Mapping) else given
    return np.ascontiguousarray(given.detach().cpu().float().reshape(-1, inputs).numpy().T)


def _answer(model: Any, given: Any, rows: int) -> Floats:
    """(rows, samples)."""
    import torch

    from glowplug.loader.api import run_on

    with torch.no_grad():  # in inference mode torch fails on weights in CSR
        answer = run_on(model, given)
    found: Floats = answer.cpu().reshape(-1, rows).numpy().T
    return found
