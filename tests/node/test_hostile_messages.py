"""What a process may send along with its messages, which the agent does not wait to be rid of."""

from __future__ import annotations

import asyncio

import pytest

from glowplug.node import wire
from glowplug.node.messages import Failed
from glowplug.node.processes import Process
from glowplug.transport.closing import close_strange
from tests.lingering import Lingering, never_blocked


@pytest.mark.parametrize("messages", [1, 3], ids=["unreadable", "never read"])
def test_sockets_that_linger(messages: int) -> None:
    async def main() -> None:
        lingering = Lingering()
        ours, theirs = wire.socket_pair()
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def on_message(process: Process, message: Failed, descriptors: list[int]) -> None:
            close_strange(descriptors)
            process.never_born("it did")

        process = Process("hostile", ours, on_message, lambda _, why, code: ended.set_result(why), print)
        for _ in range(messages):
            lingering.given_to(theirs, b"\xc1")
        lingering.sock.close()
        asyncio.get_running_loop().call_later(0, process.never_born, "it did")
        await never_blocked(lingering, ended)
        theirs.close()

    asyncio.run(main())
