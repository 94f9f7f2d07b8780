"""Streams of runs that nobody closed."""

from __future__ import annotations

import time
from collections.abc import Callable

from glowplug.distributed.channels.nats_link import CALL_S, URL, NatsLink, stream_name
from glowplug.distributed.errors import ChannelMissing
from glowplug.distributed.leftovers import Leftover


def in_streams(url: str = URL) -> list[Leftover]:
    """Raises ChannelError."""
    link = NatsLink(url)
    try:
        streams = link.wait(_all(link), CALL_S, "listing streams")
    finally:
        link.close()
    prefix = stream_name("")
    return [
        Leftover(url, name.removeprefix(prefix), 1, time.time() - made_s, _removal(url, name))
        for name, made_s in sorted(streams)
        if name.startswith(prefix)
    ]


async def _all(link: NatsLink) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    while page := await link.stream.streams_info(offset=len(found)):
        found += [
            (each.config.name or "", each.created.timestamp() if each.created else 0.0) for each in page
        ]
    return found


def _removal(url: str, name: str) -> Callable[[], None]:
    def remove() -> None:
        link = NatsLink(url)
        try:
            link.wait(link.stream.delete_stream(name), CALL_S, f"removing stream {name}")
        except ChannelMissing:
            pass
        finally:
            link.close()

    return remove
