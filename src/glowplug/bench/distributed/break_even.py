"""From how many queries an hour on a server that is always on costs less."""

from __future__ import annotations

from typing import Any

from glowplug.distributed.network import Network
from glowplug.distributed.prices import price_table
from glowplug.policy.plans.memory import buffer_bytes


def beside_a_server(usd: float | None, *, vcpus: int = 1, memory_bytes: int = 0) -> dict[str, Any]:
    """What a row says of a query that costs `usd` beside the cheapest server with so many processors and so
    much memory. None where it costs nothing, and where there is no such server."""
    table = price_table()
    server = table.cheapest(vcpus, memory_bytes)
    even = table.break_even_per_hour(server, usd) if server is not None and usd else None
    return {"break_even_per_hour": even, "server": server, "prices_as_of": table.as_of}


def alone_bytes(network: Network, samples: int) -> int:
    """What one process takes that has the whole network and all samples at a time."""
    widest = max(network.inputs, *(network.rows(index) for index in range(network.layers)))
    return network.weights_bytes + buffer_bytes(widest, samples)
