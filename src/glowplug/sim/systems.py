"""Systems of `sim.replays` by name: how they keep workers warm, load ahead and evict."""

from __future__ import annotations

from typing import Literal

import msgspec

from glowplug.core.errors import InvalidDeclaration
from glowplug.policy.registry import policy_class
from glowplug.sim.footprints import PUBLISHED
from glowplug.sim.replays import System

Substrate = Literal["process", "zygote"]
_LARGEST_BYTES = max(model.loaded_bytes for model in PUBLISHED)
_SYSTEMS = {
    "fixed": System("fixed"),
    "histogram": System("histogram", prewarm="histogram"),
    "faascache": System("faascache", prewarm="kept", eviction="greedy-dual"),
    "pagurus": System("pagurus", prewarm="pagurus"),
    "tyche": System("tyche", prewarm="kept", preload="tyche", eviction="greedy-dual"),
    "instainfer": System("instainfer", prewarm="kept", preload="instainfer", eviction="greedy-dual"),
    "clairvoyant": System("clairvoyant", prewarm="kept", preload="clairvoyant", eviction="ladder"),
    "ladder": System("ladder", prewarm="kept", preload="ladder", eviction="ladder"),
}


def system_of(name: str, substrate: Substrate) -> System:
    """`tyche`, or with another way of keeping workers warm `tyche+histogram`. Where pre-loads live inside
    sandboxes, these are as large as the largest model. Raises InvalidDeclaration naming what exists."""
    base, _, prewarm = name.partition("+")
    if base not in _SYSTEMS:
        raise InvalidDeclaration(f"no policy is called {base!r}; there are {', '.join(_SYSTEMS)}")
    found = msgspec.structs.replace(_SYSTEMS[base], name=name, substrate=substrate)
    if prewarm:
        policy_class("prewarm", prewarm)
        found = msgspec.structs.replace(found, prewarm=prewarm)
    if substrate == "process" and found.preload in ("tyche", "instainfer"):
        found = msgspec.structs.replace(found, limit_bytes=_LARGEST_BYTES)
    return found
