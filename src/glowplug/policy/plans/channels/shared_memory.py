"""shared_memory: workers of one machine. No calls that anybody bills; a copy each way."""

from __future__ import annotations

from functools import partial

import msgspec
import numpy as np

from glowplug.policy.plans.billing import Usage
from glowplug.policy.plans.channels import FRAME_BYTES, Exchange, numbered, per_sender
from glowplug.policy.plans.channels.receiving import AllAtOnce
from glowplug.policy.plans.model import Delays
from glowplug.policy.plans.spread import Spread

COPY_BYTES_S = 2e9
WAKE_S = 100e-6


class SharedMemoryCalls(msgspec.Struct, frozen=True):
    def exchange(self, spread: Spread, delays: Delays) -> Exchange:
        nbytes = spread.transfers.nbytes + FRAME_BYTES
        return Exchange(
            send_s=per_sender(spread, nbytes) / COPY_BYTES_S,
            there_s=numbered(spread, nbytes) / COPY_BYTES_S,
            messages=np.ones(len(nbytes)),
            came_bytes=nbytes,
            receiver=partial(AllAtOnce, call_s=WAKE_S, bytes_per_s=COPY_BYTES_S),
            usage=Usage(),
            receive_usage=Usage(),
            calls=len(nbytes),
            nbytes=int(nbytes.sum()),
        )
