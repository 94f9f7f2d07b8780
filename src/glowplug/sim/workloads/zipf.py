"""zipf: Poisson calls to functions of very unequal popularity."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from glowplug.sim.workloads.poisson import Poisson


class Zipf(Poisson, frozen=True, kw_only=True):
    """`poisson` with another default; any other generator takes `s` as well."""

    s: Annotated[
        float, Meta(ge=0, le=100, description="Zipf's exponent of their popularity; 0 is all alike")
    ] = 0.9
