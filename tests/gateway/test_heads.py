from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.gateway.heads import repeated

HEAD = b"POST /function/f HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\nAccept: */*\r\n\r\n"


def request(body: bytes) -> bytes:
    return HEAD % len(body) + body


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_the_same_head_with_another_length_gives_its_body(first: bytes, second: bytes) -> None:
    head = repeated(request(first))
    assert head is not None
    assert head.body_of(request(second)) == second


@given(st.binary(max_size=50), st.integers(0, 200), st.binary(max_size=3))
def test_anything_else_is_the_parsers(body: bytes, cut: int, more: bytes) -> None:
    head = repeated(request(b"abc"))
    assert head is not None
    whole = request(body)
    if cut < len(whole):
        assert head.body_of(whole[:cut]) is None
    assert head.body_of(whole + b"!" + more) is None
    assert head.body_of(whole.replace(b"Host: h", b"Host: i")) is None
    assert head.body_of(whole.replace(b"Accept", b"Accepts")) is None


@pytest.mark.parametrize("digits", [b"", b"-3", b"+3", b" 3", b"3 ", b"0x3", b"3, 3", b"\xb2", b"9" * 40])
def test_a_length_that_is_no_number_is_the_parsers(digits: bytes) -> None:
    head = repeated(request(b"abc"))
    assert head is not None
    assert head.body_of((HEAD % 3).replace(b": 3", b": " + digits) + b"abc") is None


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nContent-Length: \r\n\r\n",
    ],
)
def test_unusual_heads_are_not_remembered(data: bytes) -> None:
    assert repeated(data) is None
