"""shared_memory: workers of one machine. No calls that anybody bills; a copy each way."""

from __future__ import annotations

import msgspec
import numpy as np

from glowplug.policy.plans.billing import Usage
from glowplug.policy.plans.channels import FRAME_BYTES, Exchange, per_receiver, per_sender
from glowplug.policy.plans.model import Delays
from glowplug.policy.plans.spread import Spread

COPY_BYTES_S = 2e9
WAKE_S = 100e-6


class SharedMemoryCalls(msgspec.Struct, frozen=True):
    def exchange(self, spread: Spread, delays: Delays) -> Exchange:
        nbytes = spread.transfers.nbytes + FRAME_BYTES
        came = per_receiver(spread, nbytes)
        return Exchange(
            send_s=per_sender(spread, nbytes) / COPY_BYTES_S,
            receive_s=came / COPY_BYTES_S + np.where(came > 0, WAKE_S, 0.0),
            travel_s=0.0,
            usage=Usage(),
            calls=len(nbytes),
            nbytes=int(nbytes.sum()),
        )
