"""What `glowplug serve` says of policies, as the controller's settings."""

from __future__ import annotations

import msgspec

from glowplug.core.errors import InvalidArguments
from glowplug.core.settings import ControlSettings
from glowplug.policy.registry import policy_class

_POLICIES = ControlSettings()
MOST_CORES = 64.0


def control_settings(
    scheduling: str,
    eviction: str | None,
    device_eviction: str,
    preload: str,
    cpu_share: float,
    memory_share: float,
    horizon_s: float,
    cancel_grace_s: float = _POLICIES.cancel_grace_s,
    uncalled: bool = _POLICIES.preload_uncalled,
) -> ControlSettings:
    """`ladder` is a pre-load policy together with the keeping that goes with it, and unless another is given
    the eviction. Raises InvalidArguments, and InvalidDeclaration for a policy that does not exist."""
    if eviction is None:
        eviction = "ladder" if preload == "ladder" else _POLICIES.eviction
    for kind, name in (("scheduling", scheduling), ("eviction", eviction), ("eviction", device_eviction)):
        policy_class(kind, name)
    check_cpu_share(cpu_share)
    if not 0.0 <= memory_share <= 1.0:
        raise InvalidArguments(
            f"--preload-memory-share: {memory_share} is not a share of the memory, such as 0.5",
            "preload_memory_share",
        )
    if not horizon_s > 0.0:
        raise InvalidArguments("--preload-horizon: at least some milliseconds", "preload_horizon")
    found = ControlSettings(
        scheduling=scheduling,
        eviction=eviction,
        device_eviction=device_eviction,
        preload=preload,
        preload_cpu_share=cpu_share,
        preload_memory_share=memory_share,
        preload_uncalled=uncalled,
        preload_horizon_s=horizon_s,
        cancel_grace_s=cancel_grace_s,
        shares_weights=True,
    )
    return msgspec.structs.replace(found, prewarm="kept") if preload == "ladder" else found


def check_cpu_share(share: float, most: float = MOST_CORES) -> None:
    """Raises InvalidArguments."""
    if not 0.0 < share <= most:
        raise InvalidArguments(
            f"--preload-cpu-share: {share:g} is not a share of a core, such as 0.15", "preload_cpu_share"
        )
