"""What the server and a gateway process say to each other."""

from __future__ import annotations

import msgspec

from glowplug.core.commands import Dispatch
from glowplug.core.events import LeaseReport, RequestArrived
from glowplug.core.histogram import Histogram
from glowplug.core.ids import CommandId, FunctionId, GatewayId, InstanceId, RequestId
from glowplug.core.settings import GatewaySettings
from glowplug.core.status import RequestTrace
from glowplug.gateway.flight import FunctionInfo, Place
from glowplug.gateway.metrics import Counts, Tally
from glowplug.node import wire
from glowplug.server.gateways.messages import (
    Attach,
    Begin,
    Counted,
    Detach,
    Drain,
    Drained,
    Known,
    LostInstance,
    ReopenLog,
    Serving,
)
from glowplug.server.gateways.process import in_parts
from tests.node.links import End, run

G, F = GatewayId("http-1"), FunctionId("f.default")


def test_every_message_arrives_as_it_was() -> None:
    down = [
        Begin(G, Place(1, 4), GatewaySettings(token="secret"), 1.5, ("127.0.0.1", 9), "log"),
        Known(F, FunctionInfo(("a", "b"), 3.0, 7, frozenset({"a"}))),
        Known(F, None),
        Attach(InstanceId(3)),
        Dispatch(CommandId(1), (RequestId(2**52),), InstanceId(3), G),
        Detach(InstanceId(3), "it ended", "worker_died"),
        ReopenLog(),
        Drain(),
    ]
    up = [
        Serving(),
        RequestArrived(request=RequestId(5), function=F, gateway=G, deadline_s=2.0, body_bytes=3),
        LeaseReport(gateway=G, instance=InstanceId(3), done=4, final=True),
        LostInstance(InstanceId(3)),
        Counted(Counts({F: Tally({200: 3})}, [("parked", "queue", Histogram())]), [], {"a": 1.5}),
        Drained(True),
    ]

    async def scenario(server: End, gateway: End) -> None:
        for message in down:
            server.link.send(message)
        for message in up:
            gateway.link.send(message)
        await gateway.has(len(down))
        await server.has(len(up))
        assert gateway.came == down
        assert server.came == up

    run(scenario)


def test_counts_of_many_functions_go_in_parts() -> None:
    name = "f" * 63 + ".{}"
    counts = Counts(
        {name.format(n): Tally({200: 10**9, 503: 1}, Histogram([10**6] * 78)) for n in range(1001)},
        [("imported", "first_compute", Histogram()) for _ in range(60)],
    )
    phases = dict.fromkeys(("queue", "environment", "fork", "import", "build", "first_compute"), 0.123456789)
    traces = [
        RequestTrace(2**52 + n, name.format(n), "e" * 63, 1.7e9, 0.1, 200, "imported", phases, 2**30)
        for n in range(2500)
    ]
    parts = list(in_parts(counts, traces, {"a": 1.0}))
    assert all(len(msgspec.msgpack.encode(part)) < wire.MAX_MESSAGE_BYTES for part in parts)
    tallies = {function: tally for part in parts for function, tally in part.counts.tallies.items()}
    assert tallies == counts.tallies
    assert [trace for part in parts for trace in part.traces] == traces
    assert [found for part in parts for found in part.counts.cold_phases] == counts.cold_phases
    assert list(in_parts(Counts(), [], {"a": 2.0})) == [Counted(Counts(), [], {"a": 2.0})]
