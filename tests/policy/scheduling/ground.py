"""Devices and models with round numbers, under the real controller in virtual time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from glowplug.control.fleet.tally import Tally
from glowplug.core.commands import Climb, Dispatch
from glowplug.core.events import Deployed, Event, NodeJoined
from glowplug.core.ids import DeviceId, EnvironmentId, FunctionId, InstanceId, VersionId
from glowplug.core.settings import ControlSettings
from glowplug.core.specs import BundleFacts, Declaration, DeviceSpec, EndpointSpec, FunctionSpec, NodeSpec
from glowplug.sim.gateway import Answer, Ask
from glowplug.sim.profile import Profile
from glowplug.sim.simulation import Simulation

FOREVER_S = 1e6
MODEL_BYTES = 1000


@dataclass(frozen=True)
class Model:
    load_s: float = 3.0
    run_s: float = 1.0
    size_bytes: int = MODEL_BYTES
    max_workers: int = 99
    max_batch: int = 1
    latency_target_s: float = 0.0
    batch_s: Mapping[int, float] = field(default_factory=dict)


@dataclass
class Ground:
    """`room` is how many models of the usual size each device holds."""

    policy: str
    devices: int = 1
    room: int = 1
    models: dict[str, Model] = field(default_factory=dict)
    capacities: tuple[int, ...] = ()
    eviction: str = "lru"
    always_valid: bool = True

    def __post_init__(self) -> None:
        profiles: dict[FunctionId, Profile] = {}
        sizes = self.capacities or (self.room * MODEL_BYTES,) * self.devices
        specs = tuple(DeviceSpec(DeviceId(f"d{n}"), size) for n, size in enumerate(sizes))
        self._scenario: list[tuple[float, Event | Ask]] = [(0.0, NodeJoined(NodeSpec("n", 10**12, 8, specs)))]
        for name, model in self.models.items():
            function = function_of(name)
            facts = BundleFacts(
                device_bytes=model.size_bytes,
                run_s=model.run_s,
                load_s=model.load_s,
                batch_s=dict(model.batch_s),
            )
            profiles[function] = Profile(
                environment_s=0.0,
                environment_bytes=0,
                imported_s=model.load_s,
                run_s=model.run_s,
                batch_s=dict(model.batch_s),
                descend_s=0.0,
                facts=facts,
            )
            declaration = Declaration(
                name=name,
                kind="model",
                module="m",
                qualname="M",
                device="gpu",
                max_queue=10**6,
                max_workers=model.max_workers,
                latency_target_s=model.latency_target_s,
                endpoints=(EndpointSpec("e", max_batch=model.max_batch),),
            )
            spec = FunctionSpec(
                function, VersionId(f"{name}-v1"), "default", EnvironmentId("e"), "u", declaration
            )
            self._scenario.append((0.0, Deployed(spec, facts)))
        settings = ControlSettings(
            scheduling=self.policy, device_eviction=self.eviction, eager_stage=False, max_queued=10**6
        )
        self.simulation = Simulation(profiles, settings)
        if self.always_valid:
            state, handle = self.simulation.state, self.simulation.state.handle

            def checked(event: Event, now_s: float) -> list[object]:
                commands = handle(event, now_s)
                state.validate()
                return commands  # type: ignore[return-value]

            state.handle = checked  # type: ignore[method-assign, assignment]

    def play(self, *asks: tuple[float, str]) -> list[tuple[float, str, str, str]]:
        """What began when, on which device: ("load" or "run", model, device). All must be answered."""
        scenario = [*self._scenario, *((at_s, Ask(function_of(name), FOREVER_S)) for at_s, name in asks)]
        self._scenario = []
        result = self.simulation.run(scenario, FOREVER_S)
        assert [answer.code for answer in result.answers] == ["ok"] * len(result.answers)
        places: dict[InstanceId, tuple[str, str]] = {}
        began: list[tuple[float, str, str, str]] = []
        for at_s, command in result.commands:
            if isinstance(command, Climb) and command.device is not None:
                number, name = InstanceId(int(command.target.key)), command.spec.declaration.name
                places[number] = (name, command.device)
                began.append((round(at_s, 6), "load", name, command.device))
            elif isinstance(command, Dispatch):
                began.append((round(at_s, 6), "run", *places[command.instance]))
        return began

    @property
    def answers(self) -> list[Answer]:
        return self.simulation.run([], FOREVER_S).answers

    def latencies(self, name: str) -> list[float]:
        """In the order in which they were asked for."""
        answers = sorted(
            (a for a in self.answers if a.function == function_of(name)), key=lambda a: a.request
        )
        return [round(answer.latency_s, 6) for answer in answers]

    @property
    def tally(self) -> Tally:
        return self.simulation.state.context.store.fleet.tally


def function_of(name: str) -> FunctionId:
    return FunctionId(f"{name}.default")


def runs(began: list[tuple[float, str, str, str]]) -> str:
    """The models in the order in which their requests ran."""
    return "".join(name for _, what, name, _ in began if what == "run")
