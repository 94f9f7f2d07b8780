"""What models hold and take to load, as published and as measured here, for replays."""

from __future__ import annotations

import msgspec

from glowplug.core.ladder import Step
from glowplug.core.specs import BundleFacts
from glowplug.policy.costs import DISK_BYTES_PER_S
from glowplug.sim.profile import Profile

MB = 10**6


class Footprint(msgspec.Struct, frozen=True):
    """A model: on the `process` substrate `loaded_bytes` with its libraries, and `load_s` to load both; its
    weights alone are `weight_bytes`."""

    name: str
    loaded_bytes: int
    load_s: float
    weight_bytes: int


PUBLISHED = (
    Footprint("resnet18", 649 * MB, 0.210, 47 * MB),
    Footprint("resnet50", 907 * MB, 0.486, 102 * MB),
    Footprint("resnet152", 1348 * MB, 1.180, 241 * MB),
    Footprint("alexnet", 923 * MB, 0.671, 244 * MB),
    Footprint("vgg19", 1648 * MB, 2.410, 575 * MB),
    Footprint("inceptionv3", 957 * MB, 2.281, 109 * MB),
    Footprint("googlenet", 1027 * MB, 1.351, 53 * MB),
    Footprint("bert", 1333 * MB, 2.078, 438 * MB),
)
"""Source: the table of Tyche (IEEE TPDS 37(2), 2026); weights are those of the architectures, in float32."""

SANDBOX_S = 0.3
"""Assumed: making a container; published systems do not say it apart."""
RUN_S = 0.2
"""Assumed: a forward pass of such a model, end to end less loading in the published table."""
POOL_BYTES = 500 * MB
"""Assumed: the pool of imported processes at each node, where there is one."""


def process_profile(model: Footprint, pool: bool) -> Profile:
    """A process with everything of its own. With a `pool` of imported processes it is loaded into one of
    those; else a sandbox is made for it first. Taking over another's sandbox costs the load alone."""
    load_s = model.load_s + (0.0 if pool else SANDBOX_S)
    facts = BundleFacts(
        highest_step=Step.IMPORTED,
        reason="one process a model",
        parked_bytes=model.loaded_bytes,
        peak_bytes=model.loaded_bytes,
        run_s=RUN_S,
        load_s=load_s,
    )
    return Profile(
        environment_s=0.0,
        environment_bytes=POOL_BYTES if pool else 0,
        imported_s=load_s,
        staged_s=model.load_s,
        prime_s=0.0,
        run_s=RUN_S,
        descend_s=0.0,
        facts=facts,
    )


IMPORTED_S, STAGED_S, PRIME_S, STAGE_S = 0.083, 0.031, 0.06, 0.12
"""Measured on 2 busy cores, a BERT-shaped model of 434 MB: a fork of the libraries' zygote that rebuilds and
maps, a fork of the model's own zygote, the first pass after it, and making that zygote."""
PRIVATE_BYTES, ZYGOTE_BYTES, ENVIRONMENT_BYTES = 32 * MB, 40 * MB, 300 * MB
"""Measured: what a parked worker and a model's zygote hold for themselves, and what the libraries do."""


def zygote_profile(model: Footprint) -> Profile:
    """The same model on zygotes: its weights are mapped, once a node, and its libraries are shared."""
    facts = BundleFacts(
        weight_bytes=model.weight_bytes,
        staged_bytes=ZYGOTE_BYTES,
        parked_bytes=PRIVATE_BYTES,
        peak_bytes=PRIVATE_BYTES,
        run_s=RUN_S,
        load_s=IMPORTED_S,
        primed=True,
        rehearsed=True,
    )
    return Profile(
        environment_s=1.2,
        environment_bytes=ENVIRONMENT_BYTES,
        stage_s=STAGE_S,
        imported_s=IMPORTED_S,
        staged_s=STAGED_S,
        prime_s=PRIME_S,
        run_s=RUN_S,
        descend_s=0.005,
        read_bytes_per_s=DISK_BYTES_PER_S,
        facts=facts,
    )
