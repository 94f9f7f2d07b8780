"""Clients that are slow, silent, greedy or wrong: a clear word or a closed connection, and nothing left."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
import uvloop

from glowplug.gateway import front, guarded, queries
from glowplug.gateway.front import Front

from .fakes import House, running
from .raw import GOOD, HEAD, Raw, code, run


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "_SWEEP_S", 0.01)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"NONSENSE /function/echo HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400),
        (b"POST /function/echo HTTP/9.9\r\n\r\n", 400),
        (HEAD + b"Content-Length: two\r\n\r\n", 400),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400),
        (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok", 400),
        (HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
        (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nokTOO LONG\r\n0\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\nok", 400),
        (HEAD + b"Bad Header\r\n\r\n", 400),
        (HEAD + b"Bad\x00Name: x\r\n\r\n", 400),
        (HEAD + b"".join(b"X-%d: y\r\n" % n for n in range(300)) + b"\r\n", 431),
        (b"TRACE /function/echo HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"POST /function/echo HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n", 401),
        (b"GET http://evil.example/system/functions HTTP/1.1\r\nHost: evil.example\r\n\r\n", 401),
        (b"GET http://localhost HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET http://localhost?a=b HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (HEAD + b"Origin: http://[\r\n\r\n", 401),
        (HEAD + b"Origin: http://\xe9\r\n\r\n", 401),
        (b"GET /system/functions HTTP/1.1\r\nHost: localhost\r\nOrigin: http://[\r\n\r\n", 401),
        (b"GET /system/functions HTTP/1.1\r\nHost: localhost\r\nOrigin: http://\xe9\r\n\r\n", 401),
    ],
    ids=lambda value: str(value)[2:50],
)
def test_what_is_no_request_is_told_so(request_: bytes, status: int) -> None:
    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        client.send(request_)
        found, body = await client.answer()
        assert found == status, body
        assert code(body)
        client.writer.close()

    run(scenario)


@pytest.mark.parametrize("start", [HEAD + b"X-Long: ", b"GET /", HEAD], ids=["value", "url", "names"])
def test_a_head_without_an_end_is_given_up(start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "HEAD_S", math.inf)  # so that nothing but its bytes can end it

    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        client.send(start)
        more = b"X-A: b\r\n" * 1000 if start == HEAD else b"a" * 8000
        for _ in range(40):
            client.send(more)
        assert b" 431 " in (await client.closed() or b" 431 "), "told, or reset while it still wrote"

    run(scenario)


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"


@pytest.mark.parametrize(
    ("start", "more"),
    [(b"0\r\n", b"a:\r\n" * 2000), (b"0\r\na: ", b"b" * 8000), (b"2;", b"c" * 8000)],
    ids=["trailers", "a trailer", "a chunk's extension"],
)
def test_what_surrounds_a_body_has_an_end_too(start: bytes, more: bytes) -> None:
    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        client.send(CHUNKED + start)
        await house.http.get("/livez")
        for _ in range(80):
            client.send(more)
        assert b" 431 " in (await client.closed() or b" 431 "), "told, or reset while it still wrote"

    run(scenario)


def test_trailers_are_no_headers() -> None:
    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        trailer = b"0\r\nAuthorization: Bearer s3cret\r\n\r\n"
        for path in (b"/function/echo", b"/system/functions"):
            head = b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            client.send(head + b"2\r\nok\r\n" + trailer)
            assert (await client.answer())[0] == 401
        client.send(GOOD)
        assert (await client.answer())[0] == 401, "nor are they of the next request"
        client.writer.close()

    async def whole() -> None:
        async with running(token="s3cret") as house:
            await scenario(house)

    uvloop.run(whole())


def test_trailers_of_an_open_server_are_left_out() -> None:
    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        for _ in range(2):
            client.send(CHUNKED + b"0\r\nX-Glowplug-Timeout: nonsense\r\n\r\n")
            assert await client.answer() == (200, b"ok")
        client.writer.close()

    run(scenario)


def test_a_head_that_is_a_byte_too_long_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "HEAD_S", math.inf)

    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        begin = HEAD + b"X-Long: "
        client.send(begin + b"a" * (guarded.MAX_HEAD_BYTES + 1 - len(begin)))
        status, body = await client.answer()
        assert (status, code(body)) == (431, "head_too_large")

    run(scenario)


def test_a_body_does_not_count_as_the_head_that_follows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "MAX_HEAD_BYTES", 1000)

    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        body = b"b" * 1000
        client.send(HEAD + b"Content-Length: 1000\r\n\r\n" + body + HEAD)
        assert await client.answer() == (200, body)
        client.send(b"Content-Length: 2\r\n\r\nok")
        assert await client.answer() == (200, b"ok")
        client.writer.close()

    run(scenario)


def test_a_silent_client_is_dropped_and_one_within_its_time_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(house: House) -> None:
        silent, half, after = [await Raw.connect(house) for _ in range(3)]
        half.send(b"POST /func")
        after.send(GOOD)
        assert await after.answer() == (200, b"ok")
        with monkeypatch.context() as impatience:
            impatience.setattr(front, "HEAD_S", 0.05)
            assert await half.closed() == b""
            after.send(GOOD)
            assert await after.answer() == (200, b"ok"), "it is not its turn"
            impatience.setattr(front, "IDLE_S", 0.05)
            assert await silent.closed() == await after.closed() == b""

    run(scenario)


def test_a_head_that_drips_is_dropped_however_often_it_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        client.send(HEAD)

        async def drip() -> None:
            while True:
                client.send(b"X: y\r\n")
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        with monkeypatch.context() as impatience:
            impatience.setattr(front, "HEAD_S", 0.1)
            assert await client.closed() == b""
        dripping.cancel()

    run(scenario)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_shorter_than_it_says_times_out(chunked: bool) -> None:
    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        rest = b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc" if chunked else b"Content-Length: 10\r\n\r\nabc"
        client.send(HEAD + b"X-Glowplug-Timeout: 0.05\r\n" + rest)
        status, body = await client.answer()
        assert (status, code(body)) == (504, "deadline_passed")
        client.writer.close()

    run(scenario)


def test_a_body_that_is_longer_than_it_says_is_no_part_of_the_answer() -> None:
    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        client.send(GOOD + b"and more")
        assert await client.answer() == (200, b"ok"), "the answer comes before what went wrong after it"
        assert await client.closed() == b""

    run(scenario)


def test_a_body_in_tiny_pieces_takes_no_more_memory_than_its_length() -> None:
    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            client.send(b"1\r\nx\r\n" * 5000)
            await client.writer.drain()
        client.send(b"0\r\n\r\n")
        assert await client.answer() == (200, b"x" * 100_000)
        client.writer.close()

    run(scenario)


def test_requests_ahead_are_answered_in_order() -> None:
    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        bodies = [b"%d" % n * (n + 1) for n in range(60)]
        client.send(b"".join(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(b), b) for b in bodies))
        assert [(await client.answer())[1] for _ in bodies] == bodies
        client.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" + GOOD)
        assert await client.answer() == (200, b"ok")
        assert await client.answer() == (200, b"ok")
        client.writer.close()

    run(scenario)


def test_too_many_requests_ahead_are_not_taken() -> None:
    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        client.send(GOOD * 1000)
        answers = (await client.closed()).count(b" 200 ")
        assert 0 < answers < 400, "those that were taken are answered"

    run(scenario)


@pytest.mark.parametrize("ask", [b"websocket", b"h2c"])
def test_another_protocol_is_not_spoken(ask: bytes) -> None:
    """Nor is a function asked with a body that the parser left out."""

    async def scenario(house: House) -> None:
        client, other = await Raw.connect(house), await Raw.connect(house)
        upgrade = b"Connection: Upgrade\r\nUpgrade: " + ask + b"\r\n"
        client.send(HEAD + upgrade + b"Content-Length: 2\r\n\r\nok")
        status, body = await client.answer()
        assert (status, code(body)) == (400, "bad_request")
        assert b"Upgrade" in body
        other.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"\r\n")
        assert await other.answer() == (200, b"ok")
        assert await other.closed() == await client.closed() == b""

    run(scenario)


def test_connections_beyond_the_limit_are_told_so() -> None:
    async def scenario(house: House) -> None:
        clients = [await Raw.connect(house) for _ in range(9)]
        for client in clients:
            client.send(GOOD)
            assert await client.answer() == (200, b"ok")
        beyond = await Raw.connect(house)
        status, body = await beyond.answer()
        assert (status, code(body)) == (503, "overloaded")
        assert await beyond.closed() == b""
        for client in clients:
            client.writer.close()

    run(scenario, max_connections=10)


@pytest.mark.parametrize("path", ["/system/functions", "/system/secrets", "/system/uploads"])
def test_the_admin_interface_waits_for_no_body_for_ever(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "BODY_S", 0.05)
    monkeypatch.setattr(queries, "STALL_S", 0.05)

    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        method = b"PUT" if path.endswith("uploads") else b"POST"
        client.send(
            method + b" " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"
        )
        status, body = await client.answer()
        assert (status, code(body)) == (504, "deadline_passed")
        client.writer.close()

    run(scenario)


def test_our_own_mistake_while_reading_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Front, *arguments: Any) -> None:
        raise ZeroDivisionError("ours")

    async def whole() -> None:
        async with running() as house:
            monkeypatch.setattr(Front, "read", broken)
            client = await Raw.connect(house)
            client.send(GOOD)
            status, body = await client.answer()
            assert (status, code(body)) == (500, "internal")
            assert b"ours" not in body
            client.writer.close()

    uvloop.run(whole())
    assert "ours" in caplog.text
    assert guarded.log.name in caplog.text


@pytest.mark.parametrize("where", ["a header", "the address"])
def test_a_head_that_comes_at_once_is_bounded_too(where: str) -> None:
    async def scenario(house: House) -> None:
        house.start_worker(lend=True)
        client = await Raw.connect(house)
        more = b"a" * (guarded.MAX_HEAD_BYTES + 1)
        if where == "a header":
            head = GOOD.replace(b"\r\n", b"\r\nX-Long: " + more + b"\r\n", 1)
        else:
            head = GOOD.replace(b"/function/echo", b"/function/echo?" + more, 1)
        client.send(head)
        assert (await client.answer())[0] == 431

    run(scenario)


def test_a_long_head_is_read_anew_each_time() -> None:
    async def scenario(house: House) -> None:
        house.start_worker(lend=True)
        client = await Raw.connect(house)
        for _ in range(3):
            client.send(GOOD.replace(b"\r\n", b"\r\nX-Long: " + b"a" * 10_000 + b"\r\n", 1))
            assert (await client.answer())[0] == 200

    run(scenario)
