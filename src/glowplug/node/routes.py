"""What a worker knows of each endpoint that it answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from glowplug.core.errors import UnknownEndpoint
from glowplug.core.specs import Declaration, EndpointSpec
from glowplug.node.arguments import Signature

_FORGETS = 0.25


class Route:
    """One endpoint: how it is called, and what its calls took of late."""

    def __init__(self, call: Callable[..., Any], spec: EndpointSpec) -> None:
        self.call = call
        self.spec = spec
        self.in_batches = spec.max_batch > 1
        self.signature = Signature(call, self.in_batches)
        self.expected_s = math.inf
        """What a call may well take: the longest of late, forgotten as shorter ones come."""

    def took(self, seconds: float) -> None:
        expected_s = self.expected_s
        if seconds >= expected_s or expected_s == math.inf:
            self.expected_s = seconds
        else:
            self.expected_s = expected_s + _FORGETS * (seconds - expected_s)


class Routes:
    """Every endpoint of one function, built when it is staged and inherited by every fork.

    `concurrency` requests are answered beside each other. The first endpoint is what a request that names
    none means.
    """

    def __init__(self, endpoints: dict[str, Callable[..., Any]], declaration: Declaration) -> None:
        specs = {spec.name: spec for spec in declaration.endpoints}
        self.concurrency = declaration.target_concurrency
        self._function = declaration.name
        self._by_name = {
            name: Route(call, specs.get(name) or EndpointSpec(name)) for name, call in endpoints.items()
        }
        self._by_name[""] = next(iter(self._by_name.values()))

    @property
    def wants_a_loop(self) -> bool:
        """Whether requests are answered in an event loop: an endpoint awaits."""
        return any(route.spec.is_async for route in self._by_name.values())

    def wrap(self, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Every endpoint is called by what `around` makes of it from now on, in this process alone."""
        for route in set(self._by_name.values()):
            route.call = around(route.call)

    def find(self, name: str) -> Route:
        """Raises UnknownEndpoint."""
        route = self._by_name.get(name)
        if route is None:
            raise UnknownEndpoint(f"function {self._function} has no endpoint {name[:80]!r}")
        return route
