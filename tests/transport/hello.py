"""The first frame of a worker, for tests that read its socket themselves."""

from __future__ import annotations

import os
import socket

from glowplug.transport.frames import HEADER, Kind, encode
from glowplug.transport.shared_memory import ANCILLARY_BYTES, received_descriptors


def take_hello(sock: socket.socket) -> None:
    data, ancillary, _, _ = sock.recvmsg(HEADER.size, ANCILLARY_BYTES, socket.MSG_WAITALL)
    assert data == encode(Kind.HELLO, 0, None)
    (descriptor,) = received_descriptors(ancillary)
    os.close(descriptor)
