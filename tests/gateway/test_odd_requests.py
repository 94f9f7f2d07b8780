"""What clients send that no function should see, or not all of: names, methods, bodies, tokens."""

from __future__ import annotations

import asyncio
import json

import pytest

from .fakes import House, run

HOSTILE_NAMES = [
    "", "..", "../../etc/passwd", "%2e%2e%2f%2e%2e", "a%2fb", "%00", "a" * 10_000, "%C3%BCn%C3%AFcode",
    "echo.default.x", "echo/%2e%2e/other", "echo/main/extra", "echo/" + "b" * 10_000, "ECHO", "-echo",
    "echo.", "echo%0d%0aX: y",
]  # fmt: skip


async def post_as_it_is(house: House, path: str) -> tuple[int, dict[str, str], bytes]:
    """(status, error, body): a client of its own would resolve the dots in a path."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rsplit(":", 1)[1]))
    head = f"POST {path.replace(' ', '%20')} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: 2\r\n\r\n{{}}".encode())
    answer = await reader.read()
    writer.close()
    content = answer.partition(b"\r\n\r\n")[2]
    return int(answer.split()[1]), json.loads(content)["error"], content


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=lambda name: name[:20])
def test_hostile_names_are_answered_cleanly(name: str) -> None:
    async def scenario(house: House) -> None:
        status, error, content = await post_as_it_is(house, f"/function/{name}")
        assert status in (400, 404)
        assert error["code"] in ("invalid_name", "unknown_function", "unknown_endpoint")
        assert len(content) < 1000
        assert house.control.events == []
        metrics = (await house.http.get("/metrics")).text
        assert 'function="",status="4' in metrics or 'function="echo.default",status="404"' in metrics

    run(scenario)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/function/nobody", {}, 404),
        ("POST", "/function/echo/nowhere", {}, 404),
        ("GET", "/function/echo", {}, 405),
        ("POST", "/function/echo", {"x-glowplug-timeout": "soon"}, 400),
        ("POST", "/function/echo", {"x-glowplug-timeout": "nan"}, 400),
        ("POST", "/function/echo", {"content-encoding": "gzip"}, 415),
        ("POST", "/function/echo", {"Content-Encoding": "Br"}, 415),
        ("POST", "/function/echo", {"x-glowplug-priority": "1000"}, 400),
        ("POST", "/function/echo", {"x-glowplug-priority": "urgent"}, 400),
        ("POST", "/function/echo", {"content-type": "x" * 1000}, 400),
        ("POST", "/function/echo", {"origin": "http://evil.example"}, 401),
        ("POST", "/function/echo", {"host": "evil.example"}, 401),
        ("POST", "/function/echo", {"x-forwarded-for": "203.0.113.7"}, 401),
        ("POST", "/function/echo", {"forwarded": "for=203.0.113.7"}, 401),
        ("GET", "/system/functions", {"x-real-ip": "203.0.113.7"}, 401),
        ("GET", "/system/functions", {"x-forwarded-host": "models.example"}, 401),
    ],
)
def test_what_makes_no_sense_is_refused(method: str, path: str, headers: dict[str, str], status: int) -> None:
    async def scenario(house: House) -> None:
        answer = await house.http.request(method, path, headers=headers)
        assert answer.status_code == status
        assert answer.json()["error"]["message"]

    run(scenario)


@pytest.mark.parametrize("chunked", [False, True])
def test_an_oversize_body_is_a_413_and_harms_nobody(chunked: bool) -> None:
    async def scenario(house: House) -> None:
        async def chunks() -> object:
            for _ in range(40):
                yield bytes(1000)

        house.start_worker(lend=True)
        answer = await house.http.post("/function/echo", content=chunks() if chunked else bytes(40_000))  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
        assert (await house.http.post("/function/echo", content=bytes(1024))).content == bytes(1024)

    run(scenario, max_body_bytes=10_000)


def test_a_big_body_goes_through_unread() -> None:
    async def scenario(house: House) -> None:
        house.start_worker(lend=True)
        body = bytes(range(256)) * 8192
        for _ in range(3):
            headers = {"content-type": "application/x-npy", "accept": "application/x-npy"}
            answer = await house.http.post("/function/echo", content=body, headers=headers)
            assert answer.content == body
            assert answer.headers["content-type"] == "application/x-npy"

    run(scenario)


def test_a_client_too_slow_with_its_body_is_given_up() -> None:
    async def scenario(house: House) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rsplit(":", 1)[1]))
        writer.write(
            b"POST /function/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n"
            b"X-Glowplug-Timeout: 0.05\r\n\r\nabc"
        )
        assert b" 504 " in await reader.readline()
        writer.close()
        assert house.control.events == []

    run(scenario)


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "GET"])
def test_a_function_says_how_it_is_called_and_nothing_of_that_is_the_next_answer(method: str) -> None:
    async def scenario(house: House) -> None:
        house.start_worker(lend=True)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rsplit(":", 1)[1]))
        writer.write(f"{method} /function/echo HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 405 ")
        assert b"\r\nallow: post\r\n" in head
        if method != "HEAD":
            await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
        writer.write(b"POST /function/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nok")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(2) == b"ok"
        writer.close()

    run(scenario)


def test_behind_a_proxy_a_token_is_all_it_takes() -> None:
    async def scenario(house: House) -> None:
        house.start_worker(lend=True)
        headers = {"authorization": "Bearer s3cret", "x-forwarded-for": "203.0.113.7", "forwarded": "for=a"}
        assert (await house.http.post("/function/echo", content=b"x", headers=headers)).content == b"x"
        assert (await house.http.get("/system/functions", headers=headers)).status_code == 200

    run(scenario, token="s3cret")


def test_a_token_opens_everything_and_its_lack_only_health() -> None:
    async def scenario(house: House) -> None:
        house.start_worker(lend=True)
        for path in ("/livez", "/readyz", "/healthz"):
            assert (await house.http.get(path)).status_code == 200
        for wrong in ({}, {"authorization": "Bearer nope"}, {"authorization": "Bearer s3cre"}):
            for method, path in (
                ("POST", "/function/echo"),
                ("GET", "/system/functions"),
                ("GET", "/metrics"),
            ):
                answer = await house.http.request(method, path, headers=wrong)
                assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
        house.http.headers["authorization"] = "Bearer s3cret"
        assert (await house.http.post("/function/echo", content=b"x")).content == b"x"
        assert (await house.http.get("/system/functions")).status_code == 200

    run(scenario, token="s3cret")
