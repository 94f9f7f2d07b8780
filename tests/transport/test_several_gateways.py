"""A worker's wires to several gateways, which come and go."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from glowplug.core.errors import RequestCancelled
from glowplug.transport.begun import KEPT, BegunReader
from glowplug.transport.frames import (
    STREAM_WINDOW_BYTES,
    CreditMeta,
    Frame,
    FrameDecoder,
    Kind,
    RequestMeta,
    encode,
)
from glowplug.transport.several_gateways import SeveralGateways, let_in
from glowplug.transport.shared_memory import ANCILLARY_BYTES, received_descriptors

from .conftest import open_descriptors
from .hello import take_hello


class Gateway:
    """One gateway's end of its wire, and the frames that came there."""

    def __init__(self, door: socket.socket) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(60)
        let_in(door, theirs)
        self._decoder = FrameDecoder(10**7)
        self._frames: list[Frame] = []

    def ask(self, *requests: int, endpoint: str = "e", body: bytes = b"") -> None:
        meta = RequestMeta(endpoint)
        self.sock.sendall(b"".join(encode(Kind.REQUEST, n, meta, len(body)) + body for n in requests))

    def answer(self) -> Frame:
        while not self._frames:
            data = self.sock.recv(1 << 16)
            assert data, "the worker is gone"
            self._frames = self._decoder.feed(data)
        return self._frames.pop(0)

    def leave(self) -> None:
        self.sock.close()


class House:
    def __init__(self) -> None:
        self.door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.worker = SeveralGateways(theirs)
        self._gateways: list[Gateway] = []

    def gateway(self) -> Gateway:
        self._gateways.append(Gateway(self.door))
        return self._gateways[-1]

    def greeted(self) -> Gateway:
        """One that the worker has let in."""
        found = self.gateway()
        self.worker.read()
        take_hello(found.sock)
        return found

    def receive(self) -> int:
        incoming = self.worker.receive()
        assert incoming is not None
        return incoming.request

    def reply(self, request: int) -> None:
        self.worker.reply(request, 200, "text/plain", b"%d" % request)
        self.worker.flush()

    def close(self) -> None:
        for gateway in self._gateways:
            gateway.leave()
        self.door.close()
        self.worker.close()


@pytest.fixture
def house() -> Iterator[House]:
    before = open_descriptors()
    found = House()
    yield found
    found.close()
    assert open_descriptors() <= before


def test_each_gateway_gets_its_own_answers(house: House) -> None:
    first, second = house.greeted(), house.greeted()
    first.ask(2, 4)
    second.ask(3)
    taken = [house.receive() for _ in range(3)]
    assert sorted(taken) == [2, 3, 4]
    assert taken.index(2) < taken.index(4)
    for request in (4, 3, 2):
        house.reply(request)
    assert [first.answer().request, first.answer().request, second.answer().body] == [4, 2, b"3"]


def test_gateways_take_turns(house: House) -> None:
    first, second = house.greeted(), house.greeted()
    first.ask(2, 4, 6, 8)
    second.ask(3)
    while house.worker.waiting < 5:
        house.worker.read()
    assert 3 in [house.receive() for _ in range(2)], "nobody waits until the other has had all it wants"
    assert house.worker.waiting == 3
    assert house.worker.waiting_for("e") == 3


def test_requests_of_one_endpoint_are_taken_whoever_sent_them(house: House) -> None:
    first, second = house.greeted(), house.greeted()
    first.ask(2, 4, endpoint="a")
    first.ask(6, endpoint="b")
    second.ask(3, 5, endpoint="a")
    while house.worker.waiting < 5:
        house.worker.read()
    found = house.worker.take_for("a", 3)
    assert {incoming.endpoint for incoming in found} == {"a"}
    assert len(found) == 3
    assert house.worker.waiting_for("a") == 1
    for incoming in found:
        house.reply(incoming.request)
    answered = {first.answer().request, first.answer().request, second.answer().request}
    assert answered == {incoming.request for incoming in found}


def test_one_comes_while_the_worker_waits(house: House) -> None:
    taken: list[int] = []
    waiting = threading.Thread(target=lambda: taken.append(house.receive()))
    waiting.start()
    late = house.gateway()
    late.ask(5)
    waiting.join(60)
    assert taken == [5]
    house.reply(5)
    take_hello(late.sock)
    assert late.answer().body == b"5"


def test_requests_wait_until_there_is_a_worker() -> None:
    door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    early = Gateway(door)
    early.ask(5)
    worker = SeveralGateways(theirs)
    incoming = worker.receive()
    assert incoming is not None
    worker.reply(5, 200, "text/plain", b"ok")
    worker.flush()
    take_hello(early.sock)
    assert early.answer().body == b"ok"
    door.close()
    assert worker.receive() is None
    worker.close()
    early.leave()


def test_what_one_that_is_gone_had_asked_is_not_begun(house: House) -> None:
    gone, stays = house.greeted(), house.greeted()
    gone.ask(2, 4)
    assert house.receive() == 2
    gone.ask(6)  # this one is not even read
    gone.leave()
    stays.ask(3)
    house.worker.read()
    assert house.worker.waiting <= 1, "of the two that had been read, and the one that had not, none"
    assert house.receive() == 3
    house.reply(2)  # to nobody
    house.reply(3)
    assert stays.answer().request == 3


def test_another_comes_in_the_place_of_one_that_is_gone(house: House) -> None:
    gone = house.greeted()
    gone.ask(2)
    assert house.receive() == 2
    gone.leave()
    after = house.gateway()
    after.ask(4)
    assert house.receive() == 4
    house.worker.error(2, "internal", "to nobody")
    house.reply(4)
    take_hello(after.sock)
    assert after.answer().request == 4


def test_a_stream_to_one_that_is_gone_ends(house: House) -> None:
    gone, stays = house.greeted(), house.greeted()
    gone.ask(2)
    stays.ask(3)
    for _ in range(2):
        house.worker.begin(house.receive(), "text/plain")
    assert house.worker.chunk(2, b"x") == house.worker.chunk(3, b"y") == 1
    house.worker.flush()
    gone.leave()
    house.worker.read()
    with pytest.raises(RequestCancelled, match="gone"):
        house.worker.chunk(2, bytes(1000))
    house.worker.end(2)
    house.worker.end(3)
    house.worker.flush()
    assert [stays.answer().kind for _ in range(3)] == [Kind.REPLY, Kind.CHUNK, Kind.END]


def test_credit_is_each_streams_own(house: House) -> None:
    first, second = house.greeted(), house.greeted()
    first.ask(2)
    second.ask(3)
    for _ in range(2):
        house.worker.begin(house.receive(), "text/plain")
    reader = threading.Thread(target=lambda: [first.answer() for _ in range(5)])
    reader.start()
    assert house.worker.chunk(2, bytes(STREAM_WINDOW_BYTES + 1)) == STREAM_WINDOW_BYTES
    assert house.worker.chunk(2, b"x") == 0
    assert house.worker.chunk(3, b"x") == 1
    house.worker.flush()
    reader.join(60)
    first.sock.sendall(encode(Kind.CREDIT, 2, CreditMeta(7)))
    assert house.worker.wait(60)
    assert house.worker.read()
    assert house.worker.chunk(2, bytes(10)) == 7


def test_every_gateway_sees_what_is_begun_for_any(house: House) -> None:
    first, second = house.gateway(), house.gateway()
    house.worker.read()
    house.worker.read()
    pages = []
    for gateway in (first, second):
        data, ancillary, _, _ = gateway.sock.recvmsg(1000, ANCILLARY_BYTES)
        assert data == encode(Kind.HELLO, 0, None)
        pages.append(BegunReader(*received_descriptors(ancillary)))
    first.ask(2)
    second.ask(3)
    house.receive()
    house.receive()
    for page in pages:
        assert page.begun() == {2, 3}
        page.close()


def test_what_runs_for_a_gateway_that_is_gone_counts_as_begun_until_it_ends(house: House) -> None:
    first, second = house.gateway(), house.gateway()
    house.worker.read()
    house.worker.read()
    _, ancillary, _, _ = second.sock.recvmsg(1000, ANCILLARY_BYTES)
    page = BegunReader(*received_descriptors(ancillary))
    first.ask(1)
    house.receive()
    first.leave()
    house.worker.read()
    for others, is_there in ((range(2, 2 + KEPT), True), (range(1000, 1000 + KEPT), False)):
        for request in others:
            second.ask(request)
            house.reply(house.receive())
            second.answer()
        begun = page.begun()
        assert begun is not None
        assert (1 in begun) is is_there
        house.reply(1)
    page.close()


def test_the_closing_of_the_door_is_the_end(house: House) -> None:
    gateway = house.greeted()
    gateway.ask(2)
    while not house.worker.waiting:
        house.worker.read()
    house.door.close()
    house.worker.read()
    assert house.worker.ended
    assert house.receive() == 2, "what has been read is answered"
    assert house.worker.receive() is None


def test_nobody_is_let_in_where_nobody_is() -> None:
    door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()
    with pytest.raises(OSError, match=r"[Bb]roken|reset"):
        Gateway(door)
    door.close()
