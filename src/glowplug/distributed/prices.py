"""Unit prices from the dated table `tables/prices.json`, each with where it comes from."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import msgspec

from glowplug.policy.plans.billing import Prices


class Rate(msgspec.Struct, frozen=True):
    usd: float
    unit: str
    origin: str


class ServerPrice(msgspec.Struct, frozen=True):
    """A machine by the hour, on demand."""

    usd_hour: float
    vcpus: int
    memory_gib: float
    origin: str


class PriceTable(msgspec.Struct, frozen=True):
    """`as_of` is year and month; `broker` the kind of server that a NATS broker is priced as."""

    as_of: str
    region: str
    rates: dict[str, Rate]
    servers: dict[str, ServerPrice]
    broker: str

    def prices(self) -> Prices:
        rates = {name: rate.usd for name, rate in self.rates.items()}
        return msgspec.convert(
            {**rates, "server_hour": {kind: server.usd_hour for kind, server in self.servers.items()}}, Prices
        )

    def cheapest(self, vcpus: int, memory_bytes: int = 0) -> str | None:
        """The kind of server with so many processors and so much memory that costs least; None where none
        has them."""
        fitting = [
            (server.usd_hour, kind)
            for kind, server in self.servers.items()
            if server.vcpus >= vcpus and server.memory_gib * 2**30 >= memory_bytes
        ]
        return min(fitting)[1] if fitting else None

    def break_even_per_hour(self, kind: str, usd_per_query: float) -> float:
        """From so many queries an hour on, an always-on server costs less than paying `usd_per_query` for
        each."""
        return self.servers[kind].usd_hour / usd_per_query


@cache
def price_table() -> PriceTable:
    """The table that comes with the package."""
    text = files("glowplug.distributed.tables").joinpath("prices.json").read_bytes()
    return msgspec.json.decode(text, type=PriceTable)
