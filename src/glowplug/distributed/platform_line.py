"""What a worker and the platform that runs it tell each other, beside the start message.

A local worker has a socket for it. On a function platform, launching is a call to its API, and the answer
is what the function returns.
"""

from __future__ import annotations

import socket
from typing import Protocol

import msgspec

from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.phases import PhaseTimes
from glowplug.distributed.start import Place

_MOST_BYTES = 2**18


class Launch(msgspec.Struct, frozen=True, tag="launch"):
    worker: int


class Reached(msgspec.Struct, frozen=True, tag="reached"):
    """How far it is, for whoever watches; some are left out."""

    step: int


class Response(msgspec.Struct, frozen=True, tag="response"):
    """What a worker did, when it is done; `worked_s` is from its first layer to its part of the result.
    `meter` is its channel's and its checkpoints', `platform_meter` of what it was brought and says. Where it
    `keeps` what it sent, nobody else can send it again, and it leaves soon. `note` is for people."""

    place: Place
    phases: PhaseTimes
    worked_s: float
    meter: Meter
    damaged: int
    sent_again: int
    checkpoint_bytes: int
    peak_bytes: int
    platform_meter: Meter = msgspec.field(default_factory=Meter)
    keeps: bool = False
    note: str = ""


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """Why it ended without: an error of the tree by code (`core.errors.from_code`)."""

    code: str
    message: str


Told = Launch | Reached | Response | Failure


class PlatformLine(Protocol):
    """A worker's side."""

    def launch(self, worker: int) -> None: ...

    def tell(self, what: Told) -> None: ...


class SocketLine:
    """Over one end of a pair of sockets of whole messages (SOCK_SEQPACKET), owned."""

    def __init__(self, end: socket.socket) -> None:
        self.is_over = False
        self._socket = end
        self._encoder = msgspec.json.Encoder()
        self._decoder: msgspec.json.Decoder[Told] = msgspec.json.Decoder(Told)

    def fileno(self) -> int:
        return self._socket.fileno()

    def launch(self, worker: int) -> None:
        self.tell(Launch(worker))

    def tell(self, what: Told) -> None:
        """Raises OSError where nobody listens any more."""
        self._socket.send(self._encoder.encode(what))

    def heard(self) -> list[Told]:
        """What the other side said since the last time. Does not wait; `is_over` tells whether more can
        come."""
        found: list[Told] = []
        while not self.is_over:
            try:
                message = self._socket.recv(_MOST_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except ConnectionResetError:
                message = b""
            self.is_over = not message
            if message:
                found.append(self._decoder.decode(message))
        return found

    def close(self) -> None:
        self._socket.close()
