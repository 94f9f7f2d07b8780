"""Results posted to a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from glowplug.calls import callbacks
from glowplug.calls.callbacks import Callbacks
from glowplug.calls.states import Outcome
from glowplug.core.calls import Callback, CallId, CallRecord
from glowplug.core.errors import NoSpace, UserError

from .fakes import WAIT_S, Office, failure, office, run


class Receiver:
    """Answers each post with the next of `answers`, else with 200; None lets it wait, a future until it is
    set."""

    def __init__(self) -> None:
        self.url = ""
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[bytes | asyncio.Future[bytes] | None] = []
        self.more = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                headers = {":": line.decode().strip()}
                while text := (await reader.readline()).decode().strip():
                    name, _, value = text.partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers["content-length"]))
                self.got.append((headers, body))
                self.more.set()
                said = self.answers.pop(0) if self.answers else b"200 OK"
                if isinstance(said, asyncio.Future):
                    said = await said
                if said is None:
                    await asyncio.Event().wait()
                    return
                writer.write(b"HTTP/1.1 " + said + b"\r\ncontent-length: 0\r\n\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/done"
    try:
        yield receiver
    finally:
        server.close()


async def settled(o: Office, call: CallRecord) -> Callback:
    """The callback once it is delivered or given up."""
    while True:
        found = (await o.desk.find(call.id)).callback
        assert found is not None
        if found.state != "waiting":
            return found
        await asyncio.sleep(0.002)


def test_a_result_and_an_error_are_posted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with receiving() as receiver, office(tmp_path) as o:
            call = await o.spawn(callback_url=receiver.url)
            assert (await settled(o, call)).state == "delivered"
            ((headers, body),) = receiver.got
            assert headers[":"] == "POST /done HTTP/1.1"
            assert body == b"fine"
            assert (headers["content-type"], headers["x-call-id"]) == ("text/plain", call.id)
            assert (headers["x-function-name"], headers["x-function-status"]) == ("f.default", "200")
            o.functions.ready = [failure("function_failed")]
            await settled(o, await o.spawn(callback_url=receiver.url))
            headers, body = receiver.got[1]
            assert (headers["x-function-status"], headers["x-call-state"]) == ("500", "failed")
            assert body == b'{"error":{"code":"function_failed","message":"because function_failed"}}'

    run(scenario)


def test_what_is_not_answered_in_time_is_tried_again(tmp_path: Path) -> None:
    """On a slow machine no answer may be in time."""

    async def scenario() -> None:
        async with receiving() as receiver, office(tmp_path, callback_timeout_s=0.2) as o:
            receiver.answers = [None] * 9
            found = await settled(o, await o.spawn(callback_url=receiver.url))
            assert (found.state, found.attempts) == ("given_up", 5)
            assert found.error == "no answer within 0.2 s"

    run(scenario)


def test_what_is_not_taken_is_tried_again_with_bounds(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with receiving() as receiver, office(tmp_path, callback_timeout_s=WAIT_S) as o:
            receiver.answers = [b"503 No", b"200 OK"]
            found = await settled(o, await o.spawn(callback_url=receiver.url))
            assert (found.state, found.attempts) == ("delivered", 2)
            receiver.answers = [b"500 No"] * 9
            found = await settled(o, await o.spawn(callback_url=receiver.url))
            assert (found.state, found.attempts, found.error) == ("given_up", 5, "it answered 500")

    run(scenario)


def test_what_nobody_expected_counts_as_an_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: Callbacks, scheme: str) -> None:
        raise LookupError("no such thing")

    monkeypatch.setattr(Callbacks, "_client", broken)

    async def scenario() -> None:
        async with office(tmp_path) as o:
            found = await settled(o, await o.spawn(callback_url="http://127.0.0.1:1/done"))
            assert (found.state, found.attempts) == ("given_up", 5)
            assert found.error == "LookupError: no such thing"

    run(scenario)


def test_a_receiver_is_not_asked_again_because_our_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "_AGAIN_S", 0.001)

    async def scenario() -> None:
        async with receiving() as receiver, office(tmp_path, callback_timeout_s=WAIT_S) as o:
            change, refused = o.desk.store.change, 0

            async def full(*given: Any) -> CallRecord:
                nonlocal refused
                if receiver.got and refused < 5:
                    refused += 1
                    raise NoSpace("the disk is full")
                return await change(*given)

            monkeypatch.setattr(o.desk.store, "change", full)
            found = await settled(o, await o.spawn(callback_url=receiver.url))
            assert (found.state, found.attempts, refused) == ("delivered", 1, 5)
            assert len(receiver.got) == 1

    run(scenario)


def test_a_result_that_cannot_be_read_is_posted_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "_AGAIN_S", 0.001)

    async def scenario() -> None:
        async with receiving() as receiver, office(tmp_path, callback_timeout_s=WAIT_S) as o:
            result, refused = o.desk.store.reader.result, 0

            async def unreadable(call: CallId) -> bytes | None:
                nonlocal refused
                if refused < 3:
                    refused += 1
                    raise NoSpace("the disk gives an error")
                return await result(call)

            monkeypatch.setattr(o.desk.store.reader, "result", unreadable)
            found = await settled(o, await o.spawn(callback_url=receiver.url))
            assert (found.state, found.attempts, refused) == ("delivered", 1, 3)
            assert len(receiver.got) == 1

    run(scenario)


@pytest.mark.parametrize("said", [b"404 No", b"302 Found\r\nlocation: http://127.0.0.1:1/"])
def test_a_refusal_and_a_redirect_are_final(tmp_path: Path, said: bytes) -> None:
    async def scenario() -> None:
        async with receiving() as receiver, office(tmp_path) as o:
            receiver.answers = [said]
            found = await settled(o, await o.spawn(callback_url=receiver.url))
            assert (found.state, found.attempts) == ("given_up", 1)

    run(scenario)


def test_a_result_is_posted_though_an_earlier_end_was_taken_after_it(tmp_path: Path) -> None:
    """A receiver that has a dead letter retried before it answers."""

    async def scenario() -> None:
        async with receiving() as receiver, office(tmp_path) as o:
            taken = asyncio.get_running_loop().create_future()
            receiver.answers = [taken]
            o.functions.ready = [failure("function_failed")]
            call = await o.spawn(callback_url=receiver.url)
            await receiver.more.wait()
            await o.desk.retry(call.id)
            assert (await o.ended(call)).state == "done"
            taken.set_result(b"200 OK")
            assert (await settled(o, call)).state == "delivered"
            assert [headers["x-call-state"] for headers, _ in receiver.got] == ["failed", "done"]

    run(scenario)


def test_a_callback_outlives_its_server(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with receiving() as receiver:
            async with office(tmp_path, backoff_s=1000.0, max_backoff_s=1000.0) as o:
                receiver.answers = [b"503 No"]
                call = await o.spawn(callback_url=receiver.url)
                await receiver.more.wait()
                while (await o.desk.find(call.id)).callback == call.callback:
                    await asyncio.sleep(0.002)
                o.later_s = 4000
                await o.desk.sweep()
                assert (await o.desk.find(call.id)).state == "done", "it is kept until it was posted"
            async with office(tmp_path) as o:
                o.later_s = 1000
                o.desk._callbacks.loop.wake()
                assert (await settled(o, call)).state == "delivered"
                assert [body for _, body in receiver.got] == [b"fine", b"fine"]

    run(scenario)


def test_a_server_without_callbacks_refuses_them_and_gives_up_old_ones(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path) as o:
            o.functions.by_default = None
            call = await o.spawn(callback_url="http://127.0.0.1:1/")
            await o.functions.asked()
        async with office(tmp_path, callbacks=False) as o:
            o.functions.by_default = Outcome(True)
            assert (await settled(o, call)).state == "given_up"
            with pytest.raises(UserError, match="no-callbacks"):
                await o.spawn(callback_url="http://127.0.0.1:1/")

    run(scenario)
