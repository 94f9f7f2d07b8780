"""nats: a broker by the hour. Calls cost nothing; the server does, as long as the run takes."""

from __future__ import annotations

from functools import partial

import msgspec
import numpy as np

from glowplug.policy.plans.billing import Usage
from glowplug.policy.plans.channels import FRAME_BYTES, Exchange, numbered, per_sender, rounds
from glowplug.policy.plans.channels.receiving import AllAtOnce
from glowplug.policy.plans.model import Delays
from glowplug.policy.plans.spread import Spread

MESSAGE_BYTES = 1024 * 1024
HEADER_BYTES = 100
CALL_S = 0.001
"""A round trip inside one zone (recalled); the broker passes a message on at once."""


class NatsCalls(msgspec.Struct, frozen=True):
    def exchange(self, spread: Spread, delays: Delays) -> Exchange:
        messages = np.maximum(1.0, np.ceil(spread.transfers.nbytes / MESSAGE_BYTES))
        nbytes = spread.transfers.nbytes + messages * (HEADER_BYTES + FRAME_BYTES)
        return Exchange(
            send_s=rounds(per_sender(spread, messages), delays.parallel) * CALL_S
            + per_sender(spread, nbytes) / delays.bytes_per_s,
            there_s=CALL_S + numbered(spread, nbytes) / delays.bytes_per_s,
            messages=messages,
            came_bytes=nbytes,
            receiver=partial(AllAtOnce, call_s=CALL_S, bytes_per_s=delays.bytes_per_s),
            usage=Usage(),
            receive_usage=Usage(),
            calls=int(messages.sum()),
            nbytes=int(nbytes.sum()),
        )
