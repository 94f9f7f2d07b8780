"""Every channel by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from glowplug.core.errors import InvalidName
from glowplug.distributed.channels.base import Address, Channel, Room


def room(channel: str, **options: Any) -> Room:
    """A room that is not open yet. Any takes `claims`, the URL of a store or what `StoredBlobs` takes, for
    messages above the channel's limit.

    Raises InvalidName for a channel that is not there, TypeError for options
    that it does not have, ImportError without what it needs, ChannelError where it cannot even connect."""
    if channel not in ROOMS:
        raise InvalidName(f"there is no channel {channel!r}, but {', '.join(ROOMS)}")
    claims = options.pop("claims", None)
    made = ROOMS[channel](**options)
    return made if claims is None else _with_claims(made, claims)


def join(address: Address, worker: int) -> Channel:
    """The end of `worker`, in whatever process, of a run that is open."""
    return room(address.channel, **address.options).join(address.run, address.workers).end(worker)


def _with_claims(made: Room, claims: str | dict[str, Any]) -> Room:
    from glowplug.distributed.channels.claim_check import ClaimCheckRoom
    from glowplug.distributed.channels.stored_blobs import StoredBlobs

    options = {"url": claims} if isinstance(claims, str) else claims
    return ClaimCheckRoom(made, lambda: StoredBlobs(**options))


def _memory(**options: Any) -> Room:
    from glowplug.distributed.channels.memory import MemoryRoom

    return MemoryRoom(**options)


def _shared_memory(**options: Any) -> Room:
    from glowplug.distributed.channels.shared_memory import SharedMemoryRoom

    return SharedMemoryRoom(**options)


def _queue(**options: Any) -> Room:
    """Options of the room, `endpoint`, `region` and `hidden_s`."""
    from glowplug.distributed.channels.queue import QueueRoom

    return QueueRoom(_aws(options), **options)


def _paper_queue(**options: Any) -> Room:
    from glowplug.distributed.channels.paper_queue import PaperQueueRoom

    options = {"hidden_s": 30, **options}
    return PaperQueueRoom(_aws(options), **options)


def _object(url: str, **options: Any) -> Room:
    """`url` and what obstore takes beside it."""
    from glowplug.distributed.channels.object import ObjectRoom
    from glowplug.distributed.channels.stored_blobs import StoredBlobs

    return ObjectRoom(lambda: StoredBlobs(url, **options))


def _paper_object(url: str, **options: Any) -> Room:
    from glowplug.distributed.channels.paper_object import PaperObjectRoom
    from glowplug.distributed.channels.stored_blobs import StoredBlobs

    return PaperObjectRoom(lambda: StoredBlobs(url, **options))


def _nats(**options: Any) -> Room:
    from glowplug.distributed.channels.nats import NatsRoom

    return NatsRoom(**options)


def _aws(options: dict[str, Any]) -> Any:
    """Takes the service's options out of the others."""
    from glowplug.distributed.channels.aws import AwsService

    names = [name for name in ("endpoint", "region", "hidden_s") if name in options]
    return AwsService(**{name: options.pop(name) for name in names})


ROOMS: dict[str, Callable[..., Room]] = {
    "memory": _memory,
    "shared_memory": _shared_memory,
    "nats": _nats,
    "queue": _queue,
    "object": _object,
    "paper_queue": _paper_queue,
    "paper_object": _paper_object,
}
