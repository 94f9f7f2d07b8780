"""Bodies that are read from the client's socket right into a worker's shared memory, and all that may come
between: other requests, silence, an end."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from glowplug.gateway.body_reader import BodyReader
from glowplug.transport.shared_memory import KEPT_BYTES, THRESHOLD_BYTES
from glowplug.transport.worker_side import Incoming, WorkerEndpoint

from .fakes import ECHO, House, running
from .raw import Raw, code

SECRET = b"Cookie: a-secret-of-the-client\r\n"
BIG = 600_000


def head_of(length: int, path: bytes = b"/function/echo", method: bytes = b"POST") -> bytes:
    return b"%b %b HTTP/1.1\r\nHost: localhost\r\n%bContent-Length: %d\r\n\r\n" % (
        method,
        path,
        SECRET,
        length,
    )


def big(length: int = BIG) -> bytes:
    return random.Random(length).randbytes(length)


def of_shape(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
    """Answers with the body's length and its end, and looks at all of the memory that it came in."""
    body = incoming.body
    whole = bytes(body.obj) if not isinstance(body.obj, bytes) else body.obj  # type: ignore[arg-type]
    assert SECRET not in whole
    assert b"HTTP/1.1" not in whole
    endpoint.reply(incoming.request, 200, "text/plain", b"%d " % len(body) + bytes(body[-8:]))


def answer_to(body: bytes) -> bytes:
    return b"%d " % len(body) + body[-8:]


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Runs a scenario with a worker that is lent; afterwards nothing may be held for anybody."""

    def whole(scenario: Callable[[House], Awaitable[None]], **changes: object) -> None:
        async def inside() -> None:
            async with running(**changes) as house:  # type: ignore[arg-type]
                worker = house.start_worker(of_shape, lend=True)
                house.control.on_arrived = lambda event: house.control.dispatch(event.request, worker)
                house.control.lend(worker, slots=64)
                await scenario(house)
                last = (await house.http.post("/function/echo", content=big())).content
                assert last == answer_to(big())
                assert house.gateway.active == 0
                assert house.front.bodies.held_bytes == 0
                assert len(house.gateway.deadlines) == 0

        (uvloop.run if request.param == "uvloop" else asyncio.run)(inside())

    return whole


def reader_of(house: House) -> BodyReader | None:
    """Of the only connection of a raw client."""
    (connection,) = house.front._connections
    return connection._reader  # type: ignore[attr-defined, no-any-return]


def test_one_after_another_of_many_lengths(run: Callable[..., None]) -> None:
    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        lengths = (BIG, BIG, BIG + 1, 5, 0, THRESHOLD_BYTES - 1, THRESHOLD_BYTES, BIG, 1_000_000, 7, BIG, BIG)
        for length in lengths:
            client.send(head_of(length) + big(length))
            assert await client.answer() == (200, answer_to(big(length)))
        assert reader_of(house) is not None
        client.send(head_of(0, b"/livez", b"GET"))
        assert (await client.answer())[0] == 200
        client.send(head_of(KEPT_BYTES + 1) + big(KEPT_BYTES + 1))
        assert await client.answer() == (200, answer_to(big(KEPT_BYTES + 1)))
        client.writer.close()

    run(scenario)


@pytest.mark.parametrize("cuts", [(1,), (60,), (2000, 2001, 70_000), (300_000, 599_000)])
def test_in_any_pieces(run: Callable[..., None], cuts: tuple[int, ...]) -> None:
    """Each piece has come before the next is sent, so that the gateway sees it alone."""

    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        request = head_of(BIG) + big()
        for _ in range(3):
            for start, end in zip((0, *cuts), (*cuts, len(request)), strict=True):
                client.send(request[start:end])
                await client.writer.drain()
                await house.http.get("/livez")
            assert await client.answer() == (200, answer_to(big()))
        client.writer.close()

    run(scenario)


def test_several_at_once_are_answered_in_their_order(run: Callable[..., None]) -> None:
    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        lengths = (BIG, BIG, 3, BIG + 8, 0, BIG)
        client.send(b"".join(head_of(length) + big(length) for length in lengths))
        for length in lengths:
            assert await client.answer() == (200, answer_to(big(length)))
        client.writer.close()

    run(scenario)


def test_many_clients_at_once(run: Callable[..., None]) -> None:
    async def one(house: House, number: int) -> None:
        client = await Raw.connect(house)
        for _ in range(5):
            client.send(head_of(BIG + number) + big(BIG + number))
            assert await client.answer() == (200, answer_to(big(BIG + number)))
        client.writer.close()

    async def scenario(house: House) -> None:
        await asyncio.gather(*(one(house, number) for number in range(8)))

    run(scenario)


@pytest.mark.parametrize("before", [0, 1], ids=["the first request", "a later one"])
def test_a_client_that_leaves_in_the_middle(run: Callable[..., None], before: int) -> None:
    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        for _ in range(before):
            client.send(head_of(BIG) + big())
            await client.answer()
        client.send(head_of(BIG) + big()[:300_000])
        while not house.front.bodies.held_bytes:
            await asyncio.sleep(0.001)
        client.writer.close()
        while house.front.bodies.held_bytes:
            await asyncio.sleep(0.001)

    run(scenario)


def test_what_is_only_announced_holds_nothing(run: Callable[..., None]) -> None:
    async def scenario(house: House) -> None:
        clients = [await Raw.connect(house) for _ in range(6)]
        for client in clients:
            client.send(head_of(KEPT_BYTES))
        while len(house.gateway.deadlines) < len(clients):
            await asyncio.sleep(0.001)
        assert house.front.bodies.held_bytes == 0
        assert (await house.http.post("/function/echo", content=big())).content == answer_to(big())
        for client in clients:
            client.writer.close()
        while len(house.gateway.deadlines):
            await asyncio.sleep(0.001)

    run(scenario)


def test_a_body_that_does_not_come_in_time_is_refused_and_what_is_left_of_it_is_not_wanted(
    run: Callable[..., None],
) -> None:
    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        head = head_of(BIG).replace(SECRET, SECRET + b"X-Glowplug-Timeout: 0.2\r\n")
        client.send(head + big()[:300_000])
        status, body = await client.answer()
        assert (status, code(body)) == (504, "deadline_passed")
        assert house.front.bodies.held_bytes == 0
        client.send(big()[300_000:])
        assert await client.closed() == b""

    run(scenario)


def test_a_worker_that_ends_while_a_body_is_read(run: Callable[..., None]) -> None:
    """The body goes to another one, which the controller names."""

    async def scenario(house: House) -> None:
        first = house.gateway.invoker.reserve(ECHO, BIG)
        assert first is not None
        first.release()
        (instance,) = house.gateway.connections
        client = await Raw.connect(house)
        client.send(head_of(BIG) + big()[:300_000])
        while not house.front.bodies.held_bytes:
            await asyncio.sleep(0.001)
        house.gateway.detach(instance)
        other = house.start_worker(of_shape, lend=True)
        house.control.on_arrived = lambda event: house.control.dispatch(event.request, other)
        client.send(big()[300_000:])
        assert await client.answer() == (200, answer_to(big()))
        client.writer.close()

    run(scenario)


def test_a_body_that_a_worker_died_with_unread_goes_to_another() -> None:
    go = threading.Event()

    def die(endpoint: WorkerEndpoint, incoming: Incoming) -> None:
        go.wait(60)
        endpoint.close()
        raise BrokenPipeError

    async def scenario() -> None:
        async with running() as house:
            house.control.lend(house.start_worker(die), slots=64)
            clients = [await Raw.connect(house) for _ in range(2)]
            for begun, client in enumerate(clients, start=1):
                client.send(head_of(BIG + begun) + big(BIG + begun))
                while house.gateway.active < begun:
                    await asyncio.sleep(0.001)
            other = house.start_worker(of_shape)
            house.control.on_arrived = lambda event: house.control.dispatch(event.request, other)
            go.set()
            assert await clients[1].answer() == (200, answer_to(big(BIG + 2)))
            for client in clients:
                client.writer.close()

    asyncio.run(scenario())


def test_without_a_lease_bodies_take_the_usual_way() -> None:
    async def scenario() -> None:
        async with running() as house:
            worker = house.start_worker(of_shape)
            house.control.on_arrived = lambda event: house.control.dispatch(event.request, worker)
            client = await Raw.connect(house)
            for _ in range(2):
                client.send(head_of(BIG) + big())
                assert await client.answer() == (200, answer_to(big()))
            assert reader_of(house) is None
            client.writer.close()

    uvloop.run(scenario())


def test_a_head_that_was_refused_stays_refused(run: Callable[..., None]) -> None:
    """Heads are taken for those before them only when they came alone, and were good."""

    async def scenario(house: House) -> None:
        client = await Raw.connect(house)
        unknown, good = head_of(2, b"/function/unknown") + b"no", head_of(2) + b"ok"
        client.send(unknown + good)
        assert (await client.answer())[0] == 404
        assert (await client.answer())[0] == 200
        client.send(unknown)
        assert (await client.answer())[0] == 404
        wrong_method = head_of(2, method=b"GET") + b"ok"
        client.send(good)
        assert (await client.answer())[0] == 200
        for _ in range(2):
            client.send(wrong_method)
            assert (await client.answer())[0] == 405
        client.writer.close()

    run(scenario)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_sent_however_it_is_cut(run: Callable[..., None], seed: int) -> None:
    """Big and small, functions and others, one after another or together, in pieces of any size."""

    async def scenario(house: House) -> None:
        draw = random.Random(seed)
        client = await Raw.connect(house)
        for _ in range(8):
            lengths = [draw.choice((0, 9, 70_000, THRESHOLD_BYTES, BIG, BIG, BIG + draw.randrange(3)))]
            lengths += [draw.choice((3, BIG)) for _ in range(draw.choice((0, 0, 0, 1, 2)))]
            data = b"".join(head_of(length) + big(length) for length in lengths)
            if asks_health := draw.random() < 0.3:
                data += head_of(0, b"/livez", b"GET")
            at = 0
            while at < len(data):
                size = draw.choice((1, 40, 200, 5_000, 300_000, len(data)))
                client.send(data[at : at + size])
                at += size
                for _ in range(draw.choice((0, 1, 3))):
                    await asyncio.sleep(0)
            for length in lengths:
                assert await client.answer() == (200, answer_to(big(length)))
            if asks_health:
                assert await client.answer() == (200, b"ok")
        client.writer.close()

    run(scenario)
