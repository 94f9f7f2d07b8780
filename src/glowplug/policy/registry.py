"""Which policies exist: kind -> name -> where its class lives.

A policy is a msgspec Struct: its fields are its state, snapshotted and restored with the controller's.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from glowplug.core.errors import InvalidDeclaration

POLICIES: dict[str, dict[str, str]] = {
    "dispatch": {
        "finish-first": "glowplug.policy.dispatch.finish_first:FinishFirst",
        "scale-out": "glowplug.policy.dispatch.scale_out:ScaleOut",
    },
    "preload": {
        "clairvoyant": "glowplug.policy.preload.clairvoyant:Clairvoyant",
        "instainfer": "glowplug.policy.preload.instainfer:InstaInfer",
        "ladder": "glowplug.policy.preload.ladder:Ladder",
        "tyche": "glowplug.policy.preload.tyche:Tyche",
        "none": "glowplug.policy.preload.none:NoPreload",
    },
    "scheduling": {
        "finish-first": "glowplug.policy.scheduling.finish_first:FinishFirst",
        "lalb": "glowplug.policy.scheduling.lalb:Lalb",
        "lalb-o3": "glowplug.policy.scheduling.lalb_o3:LalbO3",
        "lalb-o3-overlap": "glowplug.policy.scheduling.lalb_overlap:LalbO3Overlap",
        "lalb-overlap": "glowplug.policy.scheduling.lalb_overlap:LalbOverlap",
        "lb": "glowplug.policy.scheduling.lb:LoadBalancing",
        "lb-overlap": "glowplug.policy.scheduling.lb:LoadBalancingOverlap",
        "mqfq-sticky": "glowplug.policy.scheduling.mqfq_sticky:MqfqSticky",
        "start-estimate": "glowplug.policy.scheduling.start_estimate:StartEstimate",
    },
    "eviction": {
        "greedy-dual": "glowplug.policy.eviction.greedy_dual:GreedyDual",
        "ladder": "glowplug.policy.eviction.ladder:Ladder",
        "lru": "glowplug.policy.eviction.lru:LeastRecentlyUsed",
        "value-per-byte": "glowplug.policy.eviction.value_per_byte:ValuePerByte",
    },
    "plans": {
        "serial": "glowplug.policy.plans.serial:Serial",
        "replicas": "glowplug.policy.plans.replicas:Replicas",
        "pipeline": "glowplug.policy.plans.pipeline:Pipeline",
        "rows": "glowplug.policy.plans.rows:Rows",
        "hybrid": "glowplug.policy.plans.hybrid:Hybrid",
    },
    "prewarm": {
        "histogram": "glowplug.policy.prewarm.histogram:Histogram",
        "pagurus": "glowplug.policy.prewarm.pagurus:Pagurus",
        "kept": "glowplug.policy.prewarm.kept:Kept",
        "fixed": "glowplug.policy.prewarm.fixed:Fixed",
        "none": "glowplug.policy.prewarm.none:NoKeepWarm",
    },
}


def policy_class(kind: str, name: str) -> Any:
    """The class registered as `name`. Raises InvalidDeclaration naming those that exist."""
    known = POLICIES[kind]
    if name not in known:
        raise InvalidDeclaration(f"no {kind} policy is called {name!r}; there are {', '.join(sorted(known))}")
    module, _, attribute = known[name].partition(":")
    return getattr(import_module(module), attribute)
