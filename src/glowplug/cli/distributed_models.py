"""Models that `glowplug distributed` knows by a word."""

from __future__ import annotations

import re

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.network import Network

_SPARSE = re.compile(r"sparse:(\d+)x(\d+)(?:@(\d+))?")


def network_of(model: str) -> Network:
    """`sparse:NEURONSxLAYERS`, or with `@SEED`: a network of the sparse DNN challenge. Raises
    InvalidArguments."""
    from glowplug.distributed.workload.challenge import ChallengeNetwork

    match = _SPARSE.fullmatch(model)
    if match is None:
        raise InvalidArguments(f"{model!r} is no model; write for example sparse:1024x120", "model")
    neurons, layers, seed = match.groups()
    return ChallengeNetwork(int(neurons), int(layers), int(seed or 0))
