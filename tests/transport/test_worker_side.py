from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.core.bodies import MAX_BODY_BYTES
from glowplug.transport.frames import (
    STREAM_WINDOW_BYTES,
    CreditMeta,
    ErrorMeta,
    Flag,
    Frame,
    FrameDecoder,
    Kind,
    ProtocolError,
    ReplyMeta,
    RequestMeta,
    decode_meta,
    encode,
)
from glowplug.transport.shared_memory import create_region, descriptor_message
from glowplug.transport.unsent import BATCH_BYTES, Piece
from glowplug.transport.worker_side import WorkerEndpoint
from tests.depth import examples

from .hello import take_hello


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, WorkerEndpoint]]:
    ours, theirs = socket.socketpair()
    endpoint = WorkerEndpoint(theirs)
    take_hello(ours)
    yield ours, endpoint
    endpoint.close()
    ours.close()


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=5), st.integers(1, 700))
def test_requests_arrive_whole_however_they_are_cut(bodies: list[bytes], step: int) -> None:
    ours, theirs = socket.socketpair()
    endpoint = WorkerEndpoint(theirs)
    wire = b"".join(encode(Kind.REQUEST, n, RequestMeta("e"), len(b)) + b for n, b in enumerate(bodies))

    def write() -> None:
        for at in range(0, len(wire), step):
            ours.sendall(wire[at : at + step])
        ours.shutdown(socket.SHUT_WR)

    writer = threading.Thread(target=write)
    writer.start()
    got = []
    while (incoming := endpoint.receive()) is not None:
        got.append((incoming.request, bytes(incoming.body)))
    writer.join()
    assert got == list(enumerate(bodies))
    endpoint.close()
    ours.close()


@pytest.mark.parametrize("in_pieces", [True, False])
def test_an_answer_that_no_gateway_would_take_is_an_error(
    pair: tuple[socket.socket, WorkerEndpoint], in_pieces: bool
) -> None:
    ours, endpoint = pair
    ours.sendall(encode(Kind.REQUEST, 1, RequestMeta()))
    incoming = endpoint.receive()
    assert incoming is not None
    half = bytes(MAX_BODY_BYTES // 2)
    pieces: list[Piece] = [half, half, b"x"]
    endpoint.reply(1, 200, "application/json", pieces if in_pieces else b"".join(pieces), {"compute": 1.0})
    endpoint.flush()
    (frame,) = FrameDecoder(MAX_BODY_BYTES).feed(ours.recv(100_000))
    assert (frame.kind, frame.request) == (Kind.ERROR, 1)
    error = decode_meta(frame.meta, ErrorMeta)
    assert (error.code, error.phases) == ("function_failed", {"compute": 1.0})
    assert "the answer has 67.1 MB and may have 67.1 MB: yield it" in error.message


def test_a_body_in_a_region_is_writable_and_given_back_once_nobody_holds_it(
    pair: tuple[socket.socket, WorkerEndpoint],
) -> None:
    ours, endpoint = pair
    region = create_region(2**20)
    ours.sendmsg(
        [encode(Kind.REQUEST, 1, RequestMeta(), 300_000, Flag.IN_REGION | Flag.NEW_REGION)],
        descriptor_message(region),
    )
    ours.sendall(encode(Kind.REQUEST, 2, RequestMeta(), 300_000, Flag.IN_REGION))
    decoder = FrameDecoder(10_000)

    first = endpoint.receive()
    assert first is not None
    assert len(first.body) == 300_000
    first.body[0] = 7
    endpoint.reply(1, 200, "text/plain", b"ok")
    endpoint.flush()
    (answer,) = decoder.feed(ours.recv(10_000))
    assert answer.flags == Flag.REGION_FREE

    os.pwrite(region, b"\x01", 0)  # as the gateway writes the next body there
    second = endpoint.receive()
    assert second is not None
    assert second.body[0] == 1
    held = second.body[10:20]
    endpoint.reply(2, 200, "text/plain", b"ok")
    endpoint.flush()
    (answer,) = decoder.feed(ours.recv(10_000))
    assert answer.flags == 0, "a view that user code keeps keeps the region"
    assert bytes(held) == bytes(10)
    ours.sendall(encode(Kind.REQUEST, 3, RequestMeta(), 300_000, Flag.IN_REGION))
    with pytest.raises(ProtocolError, match="no region"):
        endpoint.receive()


def test_an_exception_of_a_signal_handler_never_leaves_half_a_frame(
    pair: tuple[socket.socket, WorkerEndpoint],
) -> None:
    ours, endpoint = pair
    ours.sendall(encode(Kind.REQUEST, 1, RequestMeta()))
    assert endpoint.receive() is not None
    endpoint._outgoing.place(bytes(200_000))  # lent, so that the big answer goes inline and has to block

    class Stop(Exception):
        pass

    armed = False

    def raise_stop(*_: object) -> None:
        if armed:  # else it would hit the test itself, between two writes
            raise Stop

    body = bytes(range(256)) * 8000
    received = bytearray()
    main = threading.main_thread().ident
    assert main is not None

    def interrupt_then_read() -> None:
        ours.recv(1, socket.MSG_PEEK)
        for _ in range(3):
            signal.pthread_kill(main, signal.SIGUSR1)
            received.extend(ours.recv(1000))
        while data := ours.recv(1 << 16):
            received.extend(data)

    before = signal.signal(signal.SIGUSR1, raise_stop)
    reader = threading.Thread(target=interrupt_then_read)
    interruptions = 0
    try:
        reader.start()
        try:
            armed = True
            endpoint.reply(1, 200, "application/octet-stream", body)
            armed = False
        except Stop:
            armed = False
            interruptions += 1
        for _ in range(10):
            try:
                armed = True
                endpoint.error(2, "internal", "after")
                endpoint.flush()
                armed = False
                break
            except Stop:
                armed = False
                interruptions += 1
    finally:
        signal.signal(signal.SIGUSR1, before)
    endpoint.close()
    reader.join()
    assert interruptions >= 1
    first, *rest = FrameDecoder(10**7).feed(received)
    assert first.body == body
    assert {frame.kind for frame in rest} <= {Kind.ERROR}


def test_a_peer_that_speaks_otherwise_is_an_error_and_its_end_is_none(
    pair: tuple[socket.socket, WorkerEndpoint],
) -> None:
    ours, endpoint = pair
    ours.sendall(b"x" * 100)
    with pytest.raises(ProtocolError):
        endpoint.receive()
    ours.close()


def test_the_end_of_the_gateway_is_none(pair: tuple[socket.socket, WorkerEndpoint]) -> None:
    ours, endpoint = pair
    ours.close()
    assert endpoint.receive() is None
    assert endpoint.ended


def test_answers_are_written_together_until_nothing_more_is_at_hand(
    pair: tuple[socket.socket, WorkerEndpoint],
) -> None:
    ours, endpoint = pair
    ours.sendall(b"".join(encode(Kind.REQUEST, n, RequestMeta()) for n in (1, 2, 3)))
    ours.shutdown(socket.SHUT_WR)
    for waiting in (2, 1, 0):
        incoming = endpoint.receive()
        assert incoming is not None
        assert endpoint.waiting == waiting
        endpoint.reply(incoming.request, 200, "text/plain", b"ok")
        with pytest.raises(BlockingIOError):
            ours.recv(1, socket.MSG_DONTWAIT)
    assert endpoint.receive() is None
    frames = FrameDecoder(10_000).feed(ours.recv(10_000))
    assert [(frame.request, frame.body) for frame in frames] == [(1, b"ok"), (2, b"ok"), (3, b"ok")]


def test_what_is_queued_is_bounded(pair: tuple[socket.socket, WorkerEndpoint]) -> None:
    ours, endpoint = pair
    body = bytes(10_000)
    for number in range(BATCH_BYTES // len(body)):
        endpoint.reply(number, 200, "text/plain", body)
        assert endpoint.unsent
    endpoint.reply(99, 200, "text/plain", body)
    assert not endpoint.unsent
    assert len(FrameDecoder(10**6).feed(ours.recv(10**6, socket.MSG_WAITALL | socket.MSG_DONTWAIT))) >= 6


def test_requests_of_one_endpoint_are_taken_out_of_turn(pair: tuple[socket.socket, WorkerEndpoint]) -> None:
    ours, endpoint = pair
    for number, name in enumerate("abaaba"):
        ours.sendall(encode(Kind.REQUEST, number, RequestMeta(name)))
    ours.shutdown(socket.SHUT_WR)
    first = endpoint.receive()
    assert first is not None
    while not endpoint.ended:
        endpoint.read()
    assert endpoint.waiting_for("a") == 3
    assert [incoming.request for incoming in endpoint.take_for("a", 2)] == [2, 3]
    assert endpoint.take_for("c", 2) == []
    rest = [endpoint.take(), endpoint.take(), endpoint.take()]
    assert [incoming.request for incoming in rest if incoming is not None] == [1, 4, 5]
    assert endpoint.take() is None


def test_a_stream_sends_what_it_has_credit_for(pair: tuple[socket.socket, WorkerEndpoint]) -> None:
    ours, endpoint = pair
    decoder = FrameDecoder(10**6)
    data = memoryview(bytes(range(256)) * (STREAM_WINDOW_BYTES // 256 + 1))
    received: list[Frame] = []

    def read_until(kind: Kind) -> None:
        while not received or received[-1].kind is not kind:
            received.extend(decoder.feed(ours.recv(10**6)))

    ours.sendall(encode(Kind.REQUEST, 1, RequestMeta()) + encode(Kind.CREDIT, 1, CreditMeta(5)))
    assert endpoint.receive() is not None, "credit of no stream means nothing"
    reader = threading.Thread(target=read_until, args=(Kind.END,))
    reader.start()
    endpoint.begin(1, "text/plain")
    assert endpoint.chunk(1, data) == STREAM_WINDOW_BYTES
    assert endpoint.chunk(1, data[STREAM_WINDOW_BYTES:]) == 0
    ours.sendall(encode(Kind.CREDIT, 1, CreditMeta(100)))
    assert endpoint.wait()
    assert endpoint.read()
    assert endpoint.chunk(1, data[STREAM_WINDOW_BYTES:]) == 100
    endpoint.end(1, {"compute": 1.0})
    endpoint.flush()
    reader.join()
    begin, *chunks, end = received
    assert decode_meta(begin.meta, ReplyMeta) == ReplyMeta(content_type="text/plain", stream=True)
    assert {frame.kind for frame in chunks} == {Kind.CHUNK}
    assert b"".join(frame.body for frame in chunks) == data[: STREAM_WINDOW_BYTES + 100]
    assert decode_meta(end.meta, ReplyMeta).phases == {"compute": 1.0}


def test_an_answer_out_of_the_requests_own_body_gives_it_back(
    pair: tuple[socket.socket, WorkerEndpoint],
) -> None:
    ours, endpoint = pair
    region = create_region(2**20)
    os.pwrite(region, b"body", 200_000)
    head = encode(Kind.REQUEST, 1, RequestMeta(), 300_000, Flag.IN_REGION | Flag.NEW_REGION)
    ours.sendmsg([head], descriptor_message(region))
    incoming = endpoint.receive()
    assert incoming is not None
    pieces: list[Piece] = [incoming.body[200_000:200_004]]
    endpoint.reply(1, 200, "text/plain", pieces)
    endpoint.flush()
    (answer,) = FrameDecoder(10_000).feed(ours.recv(10_000))
    assert (answer.body, answer.flags) == (b"body", Flag.REGION_FREE)
    os.close(region)
