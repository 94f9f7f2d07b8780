"""How a run is to go, whatever its plan and channel."""

from __future__ import annotations

from typing import Literal

import msgspec

from glowplug.distributed.faults import Faults
from glowplug.distributed.orders import Collect, Form


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`memory_bytes` is what each worker may hold, enforced by the kernel (`runner.run`); 0 does not
    limit it. It is `counted` by what is resident, as control groups and function platforms do, or by what is
    mapped, which is what a limit of the address space can do.

    With `checkpoint_layers` workers write what they need to begin again about every so many layers, to
    `checkpoints` (a folder or a URL of an object store, or else the run's own folder), and one that is lost
    is replaced; without, all go back to the beginning. `keep` has senders keep what receivers have not
    checkpointed; left out, they do where the channel does not give again what a lost worker got. `parts` is
    a folder in which parts are cached by content. `stall_s` is how long who misses something waits before it
    asks, until it knows the pace of the run.
    """

    memory_bytes: int = 0
    counted: Literal["resident", "mapped"] = "mapped"
    deadline_s: float = 600.0
    checkpoint_layers: int = 0
    checkpoints: str = ""
    keep: bool | None = None
    barrier: bool = False
    background: bool | None = None
    form: Form | None = None
    collect: Collect = "activations"
    stall_s: float = 1.0
    branching: int | None = None
    parts: str = ""
    faults: Faults = Faults()
