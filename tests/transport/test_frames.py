from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.transport.frames import (
    HEADER,
    MAGIC,
    MAX_CHUNK_BYTES,
    MAX_META_BYTES,
    STREAM_WINDOW_BYTES,
    CreditMeta,
    ErrorMeta,
    Flag,
    FrameDecoder,
    Kind,
    ProtocolError,
    ReplyMeta,
    RequestMeta,
    decode_meta,
    encode,
    known_phases,
)
from tests.depth import examples

FRAMES = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(max_size=300)), max_size=8)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(a, len(data)) for a in at), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(FRAMES, st.lists(st.integers(0, 3000), max_size=12))
def test_frames_arrive_whole_however_cut(frames: list[tuple[int, bytes]], at: list[int]) -> None:
    meta = RequestMeta(endpoint="embed")
    wire = b"".join(encode(Kind.REQUEST, request, meta, len(body)) + body for request, body in frames)
    decoder = FrameDecoder(max_body_bytes=300)
    out = [frame for piece in cut(wire, at) for frame in decoder.feed(piece)]
    assert [(frame.request, frame.body) for frame in out] == frames
    assert all(decode_meta(frame.meta, RequestMeta) == meta for frame in out)
    assert decoder.is_between_frames


@settings(max_examples=examples(200))
@given(st.binary(max_size=200), st.integers(0, 100), st.integers(0, 255))
def test_garbage_ends_in_a_protocol_error_or_nothing(noise: bytes, at: int, value: int) -> None:
    wire = bytearray(encode(Kind.REPLY, 7, ReplyMeta(phases={"compute": 0.5}), 3) + b"abc" + noise)
    wire[at % len(wire)] = value
    decoder = FrameDecoder(max_body_bytes=1000)
    try:
        for frame in decoder.feed(wire):
            assert len(frame.meta) <= MAX_META_BYTES
            assert len(frame.body) <= 1000
            decode_meta(frame.meta, ReplyMeta)
    except ProtocolError:
        pass


@pytest.mark.parametrize("status", [199, 204, 205, 304, 600])
def test_an_answer_has_no_status_that_goes_without_a_body(status: int) -> None:
    packed = encode(Kind.REPLY, 7, ReplyMeta(status=status))[HEADER.size :]
    with pytest.raises(ProtocolError):
        decode_meta(packed, ReplyMeta)


@pytest.mark.parametrize(
    "header",
    [
        (MAGIC + 1, Kind.REPLY, 0, 0, 1, 0),
        (MAGIC, 99, 0, 0, 1, 0),
        (MAGIC, Kind.CHUNK, 0, 0, 1, 0),
        (MAGIC, Kind.REPLY, 0x80, 0, 1, 0),
        (MAGIC, Kind.REPLY, Flag.NEW_REGION, 0, 1, 0),
        (MAGIC, Kind.REPLY, 0, MAX_META_BYTES + 1, 1, 0),
        (MAGIC, Kind.REPLY, 0, 0, 1, 1001),
        (MAGIC, Kind.REPLY, Flag.IN_REGION, 0, 1, 1001),
    ],
)
def test_a_bad_header_is_refused_before_its_body_comes(header: tuple[int, ...]) -> None:
    with pytest.raises(ProtocolError):
        FrameDecoder(1000, frozenset({Kind.REPLY})).feed(HEADER.pack(*header))


@pytest.mark.parametrize(("flags", "body_bytes"), [(0, 0), (0, MAX_CHUNK_BYTES + 1), (Flag.IN_REGION, 10)])
def test_a_chunk_is_small_and_on_the_wire(flags: int, body_bytes: int) -> None:
    with pytest.raises(ProtocolError, match="chunk"):
        FrameDecoder(2**20).feed(HEADER.pack(MAGIC, Kind.CHUNK, flags, 0, 1, body_bytes))
    fits = HEADER.pack(MAGIC, Kind.CHUNK, 0, 0, 1, MAX_CHUNK_BYTES) + bytes(MAX_CHUNK_BYTES)
    assert encode(Kind.CHUNK, 1, None, MAX_CHUNK_BYTES) == fits[: HEADER.size]
    (chunk,) = FrameDecoder(2**20).feed(fits)
    assert (chunk.kind, chunk.meta, len(chunk.body)) == (Kind.CHUNK, b"", MAX_CHUNK_BYTES)


@pytest.mark.parametrize("amount", [0, -1, STREAM_WINDOW_BYTES + 1])
def test_credit_is_within_the_window(amount: int) -> None:
    with pytest.raises(ProtocolError, match="credit"):
        decode_meta(encode(Kind.CREDIT, 1, CreditMeta(amount))[HEADER.size :], CreditMeta)


def test_a_body_in_a_region_has_no_bytes_on_the_wire() -> None:
    wire = encode(Kind.REPLY, 1, ReplyMeta(), 500, Flag.IN_REGION) + encode(Kind.REPLY, 2, ReplyMeta(), 0)
    first, second = FrameDecoder(1000).feed(wire)
    assert (first.body, first.body_bytes, second.request) == (b"", 500, 2)


@pytest.mark.parametrize(
    "meta",
    [
        ReplyMeta(content_type="text/plain\r\nSet-Cookie: a"),
        ReplyMeta(content_type="x" * 300),
        ReplyMeta(content_type="naïve"),
        ReplyMeta(origin="a\nb"),
        ReplyMeta(status=99),
        ReplyMeta(status=1000),
    ],
)
def test_an_answer_cannot_smuggle_headers(meta: ReplyMeta) -> None:
    frame = FrameDecoder(10).feed(encode(Kind.REPLY, 1, meta))[0]
    with pytest.raises(ProtocolError):
        decode_meta(frame.meta, ReplyMeta)


def test_meta_of_another_shape_is_refused() -> None:
    frame = FrameDecoder(10).feed(encode(Kind.ERROR, 1, ErrorMeta("internal", "oops")))[0]
    with pytest.raises(ProtocolError, match="cannot be read"):
        decode_meta(b"\xc1" + frame.meta, ErrorMeta)
    with pytest.raises(ProtocolError, match="cannot be read"):
        decode_meta(b"\x81\xa4code\xa1\xff", ErrorMeta)
    with pytest.raises(ProtocolError, match="cannot be read"):
        decode_meta(b"\x81\xa1x" + b"\x91" * 60_000, ErrorMeta)
    with pytest.raises(ProtocolError, match="exceeds"):
        encode(Kind.ERROR, 1, ErrorMeta("internal", "x" * (MAX_META_BYTES + 1)))


def test_only_known_phases_with_sensible_durations_survive() -> None:
    made_up = {"compute": 1.0, "fork": -1.0, "build": float("nan"), "apply": float("inf"), "x\r\n": 2.0}
    assert known_phases(made_up) == {"compute": 1.0}
