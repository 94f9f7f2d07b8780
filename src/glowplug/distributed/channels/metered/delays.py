"""What a simulated service takes: stated, not measured."""

from __future__ import annotations

import msgspec


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of a call as its caller sees it, without the transfer, and how long messages travel.

    The defaults are assumptions of what a cloud's region has; runs state theirs and sweep `hop_s`.
    """

    hop_s: float = 0.1
    """From when a message's bytes have left to its being there for a poll, through a topic or straight."""
    hop_spread_s: float = 0.0
    """Some messages take up to so much longer, evenly spread."""
    publish_s: float = 0.015
    send_s: float = 0.01
    poll_s: float = 0.01
    delete_s: float = 0.01
    put_s: float = 0.03
    get_s: float = 0.015
    list_s: float = 0.03
    bytes_per_s: float = 75e6
    """Of one worker, each way: 600 Mb/s."""
    parallel: int = 8
    """Calls that a worker makes at a time."""
