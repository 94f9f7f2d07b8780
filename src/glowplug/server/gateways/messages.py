"""What the server and a gateway process say to each other over their control socket, beside events and the
controller's commands, which travel as they are."""

from __future__ import annotations

import msgspec

from glowplug.control.engine import GatewayCommand
from glowplug.core.ids import FunctionId, GatewayId, InstanceId
from glowplug.core.settings import GatewaySettings
from glowplug.core.status import RequestTrace
from glowplug.gateway.flight import FunctionInfo, Place
from glowplug.gateway.metrics import Counts
from glowplug.server.gateways.unfinished import GatewayEvent


class _Message(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    pass


# server -> gateway


class Begin(_Message, frozen=True):
    """The first message. Descriptors: the socket to listen on, and the memory of open_requests.py.

    `offset_s` makes epoch seconds of the monotonic clock; `server` is where the server listens for what is
    not a gateway's own to answer.
    """

    gateway: GatewayId
    place: Place
    settings: GatewaySettings
    offset_s: float
    server: tuple[str, int]
    access_log: str = ""


class Known(_Message, frozen=True):
    """What is deployed of a function; None when nothing is any more."""

    function: FunctionId
    info: FunctionInfo | None


class Attach(_Message, frozen=True):
    """An instance begins to climb. The descriptor is this gateway's end of its wire."""

    instance: InstanceId


class Detach(_Message, frozen=True):
    """An instance has ended; `code` is for the requests that it did not answer."""

    instance: InstanceId
    why: str
    code: str


class Drain(_Message, frozen=True):
    """Refuse requests that come, and answer those that are here. The end of the control socket ends it."""


class ReopenLog(_Message, frozen=True):
    pass


# gateway -> server


class Serving(_Message, frozen=True):
    """It accepts connections."""


class LostInstance(_Message, frozen=True):
    """The connection to an instance has ended, be it that it broke the protocol."""

    instance: InstanceId


class Counted(_Message, frozen=True):
    """What was counted since the last one, some of the latest traces, and what there is to do at this
    moment."""

    counts: Counts
    traces: list[RequestTrace]
    busy: dict[str, float]


class Drained(_Message, frozen=True):
    """The last message; `in_time` is whether every request was answered."""

    in_time: bool


FromServer = Begin | Known | Attach | Detach | Drain | ReopenLog | GatewayCommand
FromGateway = Serving | LostInstance | Counted | Drained | GatewayEvent
