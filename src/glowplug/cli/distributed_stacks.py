"""Torch models whose rows can be spread: stacks of sparse linear layers, and what they are run on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from glowplug.cli.model_files import opened, running
from glowplug.core.errors import InvalidDeclaration
from glowplug.distributed.errors import NotAStack

if TYPE_CHECKING:
    import torch

    from glowplug.distributed.example_network import ExampleNetwork

_LOOKED_AT = 64
"""So many samples' answers are compared with the model's own."""


def stack_of(model: str, example: str) -> ExampleNetwork:
    """FILE:NAME of a callable that returns the model, and beside it what returns some of its rows.

    Raises NotAStack, also where the model itself answers something else than the network would;
    InvalidDeclaration for what the file has not, or raises.
    """
    import numpy as np
    import torch

    from glowplug.distributed.example_network import ExampleNetwork
    from glowplug.distributed.torch_network import is_answer, sparse_network_of
    from glowplug.loader.api import run_on

    file, built, given = opened(model, example)
    try:
        network = sparse_network_of(built)
    except NotAStack as error:
        raise NotAStack(
            f"{model} is no stack of sparse linear layers, whose rows could be spread: {error}; as a "
            "function it runs over workers with @app.model(workers=...)",
            "model",
        ) from error
    with running(file, example), torch.no_grad():  # in inference mode torch fails on weights in CSR
        answer = run_on(built, given)
    rows = _only_tensor(given)
    if rows is None or not rows.numel():
        raise InvalidDeclaration(f"{file}: {example}() returns no tensor of one or more rows")
    x = np.ascontiguousarray(rows.detach().cpu().float().reshape(-1, network.inputs).numpy().T)
    outputs = answer.detach().reshape(-1, network.rows(network.layers - 1)).cpu().numpy().T
    if not is_answer(network, x[:, :_LOOKED_AT], outputs[:, :_LOOKED_AT]):
        raise NotAStack(f"{model} answers something else than its layers alone would", "model")
    return ExampleNetwork(model, network, x)


def _only_tensor(given: object) -> torch.Tensor | None:
    """Of what a model is called with: itself, or the one in a tuple or a mapping."""
    import torch

    found = list(given.values()) if isinstance(given, Mapping) else given
    if isinstance(found, (tuple, list)) and len(found) == 1:
        found = found[0]
    return found if isinstance(found, torch.Tensor) else None
