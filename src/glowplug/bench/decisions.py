"""What an unleased decision costs the controller, and how much memory it keeps, with many functions."""

from __future__ import annotations

import gc
import time
import tracemalloc
from statistics import median

import msgspec

from glowplug.control.state import ControlState
from glowplug.core import events as e
from glowplug.core.commands import Climb, Command, Dispatch, Lease, Revoke
from glowplug.core.ids import (
    EnvironmentId,
    FunctionId,
    GatewayId,
    InstanceId,
    NodeId,
    RequestId,
    VersionId,
)
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import BundleFacts, Declaration, FunctionSpec, NodeSpec

_GATEWAY = GatewayId("bench")
_NODE = NodeId("node")
_FACTS = BundleFacts(weight_bytes=10**6, staged_bytes=10**5, parked_bytes=10**5, peak_bytes=10**5)
_RUN_S = 0.06


class DecisionCost(msgspec.Struct, frozen=True):
    """`arrival_us` is the median of `handle(RequestArrived)` of a request that goes to a parked worker;
    `done_us` that of its RequestDone; `bytes_per_1000` the controller's memory for 1,000 parked functions."""

    functions: int
    arrival_us: float
    arrival_p99_us: float
    done_us: float
    bytes_per_1000: int


class _World:
    """A controller and just enough of an engine and a gateway to keep it going: all goes well, at once."""

    def __init__(self, functions: int) -> None:
        settings = ControlSettings(environment_estimate_bytes=1, eager_stage=False, lease_s=1e6)
        self.state = ControlState(settings)
        self.now_s = 1.7e9
        self.requests = 0
        self.parked: dict[FunctionId, InstanceId] = {}
        self.names = [FunctionId(f"function-{number}.default") for number in range(functions)]
        self.post(e.NodeJoined(NodeSpec(_NODE, 10**15, 2)))
        for name in self.names:
            self.post(e.Deployed(_spec(name), _FACTS))
        for name in self.names:
            self.ask(name)

    def post(self, event: e.Event) -> None:
        """Handles the event and what follows from it, climbs above all."""
        self.now_s += 1e-4
        for command in self.state.handle(event, self.now_s):
            self._obey(command)

    def _obey(self, command: Command) -> None:
        if isinstance(command, Climb):
            self.post(e.StepReached(command.id, command.target, command.step, 0.1, 10**5))
        elif isinstance(command, Dispatch):
            self.post(e.RequestDone(command.requests[0], command.instance, True, _RUN_S))
        elif isinstance(command, Lease):
            self.parked[command.function] = command.instance
        elif isinstance(command, Revoke):
            self.post(e.LeaseReport(command.gateway, command.instance, done=1, busy_s=_RUN_S, final=True))

    def ask(self, name: FunctionId) -> None:
        self.requests += 1
        self.post(e.RequestArrived(RequestId(self.requests), name, _GATEWAY, self.now_s + 60))

    def take_back(self, name: FunctionId) -> None:
        """The lease of the function's worker is over, so that the next request has to be decided about."""
        self.post(e.LeaseReport(_GATEWAY, self.parked[name], final=True))


def measure(functions: int = 1000, decisions: int = 5000) -> DecisionCost:
    """Times decisions about requests for functions in turn, each of which has one idle, unlent worker."""
    world = _World(functions)
    arrivals: list[float] = []
    ends: list[float] = []
    handle = world.state.handle
    for number in range(decisions):
        name = world.names[(number * 7919) % functions]
        world.take_back(name)
        world.requests += 1
        world.now_s += 1e-3
        request = RequestId(world.requests)
        arrived = e.RequestArrived(request, name, _GATEWAY, world.now_s + 60)
        began = time.perf_counter()
        commands = handle(arrived, world.now_s)
        arrivals.append(time.perf_counter() - began)
        (dispatch,) = (command for command in commands if isinstance(command, Dispatch))
        done = e.RequestDone(request, dispatch.instance, True, _RUN_S)
        began = time.perf_counter()
        commands = handle(done, world.now_s)
        ends.append(time.perf_counter() - began)
        for command in commands:
            world._obey(command)
    world.state.validate()
    arrivals.sort()
    return DecisionCost(
        functions=functions,
        arrival_us=median(arrivals) * 1e6,
        arrival_p99_us=arrivals[int(len(arrivals) * 0.99)] * 1e6,
        done_us=median(ends) * 1e6,
        bytes_per_1000=memory_per_1000(),
    )


def memory_per_1000() -> int:
    """Bytes that the controller allocates for 1,000 functions, each with a parked and lent worker."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        world = _World(1000)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        assert len(world.parked) == 1000
        return after - before
    finally:
        tracemalloc.stop()


def _spec(name: FunctionId) -> FunctionSpec:
    short = name.partition(".")[0]
    declaration = Declaration(name=short, kind="model", module="m", qualname="M", keep_warm_s=1e6)
    return FunctionSpec(name, VersionId(f"{short}-v1"), "default", EnvironmentId("e"), "u", declaration)


if __name__ == "__main__":
    print(msgspec.json.encode(measure()).decode())
