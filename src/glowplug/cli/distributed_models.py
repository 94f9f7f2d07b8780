"""Models that `glowplug distributed` knows by a word."""

from __future__ import annotations

import re

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.network import Floats, Network

_SPARSE = re.compile(r"sparse:(\d+)x(\d+)(?:@(\d+))?")


def is_torch(model: str) -> bool:
    """Whether it is FILE:NAME of a torch model."""
    file, _, name = model.rpartition(":")
    return file.endswith(".py") and name.isidentifier()


def network_of(model: str, example: str = "example") -> Network:
    """`sparse:NEURONSxLAYERS`, or with `@SEED`: a network of the sparse DNN challenge. Or a torch model that
    is a stack of sparse linear layers. Raises NotAStack for one that is none, InvalidArguments,
    InvalidDeclaration."""
    from glowplug.cli.distributed_stacks import stack_of
    from glowplug.distributed.workload.challenge import ChallengeNetwork

    match = _SPARSE.fullmatch(model)
    if match is None:
        if is_torch(model):
            return stack_of(model, example)
        raise InvalidArguments(f"{model!r} is no model; write for example sparse:1024x120", "model")
    neurons, layers, seed = match.groups()
    return ChallengeNetwork(int(neurons), int(layers), int(seed or 0))


def inputs_of(network: Network, samples: int) -> Floats:
    """What a run sends through it: a stack's own examples, else the challenge's digits."""
    from glowplug.distributed.example_network import ExampleNetwork
    from glowplug.distributed.workload.digits import digits

    if isinstance(network, ExampleNetwork):
        return network.samples(samples)
    return digits(network.inputs, samples)
