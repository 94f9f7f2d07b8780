"""What a run used and what that costs: counted units, unit prices, dollars.

Source of the model: the cost formula of FSD-Inference (Oakley & Ferhatosmanoglu, ICDE 2024), which has
Lambda's requests and time, a queue's publishes, bytes and polls, and an object store's puts, gets and
lists. Deletes on the queue, a broker and servers by the hour are ours.
"""

from __future__ import annotations

import msgspec

MIB_PER_GIB = 1024
PUBLISH_UNIT_BYTES = 64 * 1024
"""SNS bills a publish in units of this size, and one at least."""


class Usage(msgspec.Struct, frozen=True):
    """What is billed. `queue_calls` are receives; `server_s` seconds of servers by their kind in the price
    table."""

    invocations: float = 0
    function_gib_s: float = 0.0
    publishes: float = 0
    published_bytes: float = 0
    queue_calls: float = 0
    queue_deletes: float = 0
    puts: float = 0
    gets: float = 0
    lists: float = 0
    server_s: dict[str, float] = {}

    def __add__(self, other: Usage) -> Usage:
        servers = dict(self.server_s)
        for kind, seconds in other.server_s.items():
            servers[kind] = servers.get(kind, 0.0) + seconds
        sums = {name: getattr(self, name) + getattr(other, name) for name in _COUNTED}
        return Usage(**sums, server_s=servers)

    def __mul__(self, times: float) -> Usage:
        servers = {kind: seconds * times for kind, seconds in self.server_s.items()}
        return Usage(**{name: getattr(self, name) * times for name in _COUNTED}, server_s=servers)

    @property
    def calls(self) -> float:
        """Calls to the channel, as billed; a publish of several units counts as so many."""
        return self.publishes + self.queue_calls + self.queue_deletes + self.puts + self.gets + self.lists


_COUNTED = tuple(field.name for field in msgspec.structs.fields(Usage) if field.name != "server_s")


class Prices(msgspec.Struct, frozen=True):
    """Dollars for one unit each; `server_hour` by kind of server."""

    invocation: float
    function_gib_s: float
    publish: float
    published_byte: float
    queue_call: float
    put: float
    get: float
    listing: float
    server_hour: dict[str, float]

    def bill(self, usage: Usage) -> dict[str, float]:
        """Dollars by what they are for. Raises KeyError for a kind of server without a price."""
        return {
            "functions": usage.invocations * self.invocation + usage.function_gib_s * self.function_gib_s,
            "publishes": usage.publishes * self.publish,
            "bytes": usage.published_bytes * self.published_byte,
            "queue": (usage.queue_calls + usage.queue_deletes) * self.queue_call,
            "objects": usage.puts * self.put + usage.gets * self.get + usage.lists * self.listing,
            "servers": sum(
                seconds / 3600 * self.server_hour[kind] for kind, seconds in usage.server_s.items()
            ),
        }

    def usd(self, usage: Usage) -> float:
        return sum(self.bill(usage).values())


def function_gib_s(runtime_s: float, memory_mib: float) -> float:
    """What Lambda bills for `runtime_s` of a function with `memory_mib`."""
    return runtime_s * memory_mib / MIB_PER_GIB
