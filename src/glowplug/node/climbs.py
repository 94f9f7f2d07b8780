"""Climbs on this node: which zygote each starts from, and with what it is forked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from glowplug.core.commands import Climb
from glowplug.core.errors import CapacityError
from glowplug.core.ids import DeviceId
from glowplug.core.ladder import Step
from glowplug.node.messages import Role
from glowplug.node.roster import Held
from glowplug.node.streams import Stream

if TYPE_CHECKING:
    from glowplug.node.agent import Agent


class Climbs:
    """Of one agent, in its event loop. What cannot be climbed is answered with CommandFailed."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def start(self, command: Climb, env: dict[str, str], descriptors: list[int]) -> None:
        """`env` has the function's secrets too. `descriptors` stay the caller's: an instance's data socket.
        Raises OSError, ValueError when no child can be asked for."""
        agent = self._agent
        if command.target.kind == "environment":
            agent.environments.climb(command)
            return
        agent.contexts.hear_of(command)
        parent = self.parent_of(command)
        if parent is None:
            agent.fail(command, "unavailable", f"no zygote to fork {command.spec.function} from")
            return
        broken = [f"{name} ({parent.missing[name]})" for name in command.spec.declaration.libraries
                  if name in parent.missing]  # fmt: skip
        if broken:
            agent.fail(
                command, "build_failed", f"libraries that cannot be imported: {', '.join(broken)}", True
            )
        elif command.target.kind == "part":
            agent.gangs.fork_part(command, parent, env)
        elif agent.remote.needed(command):
            agent.remote.start(command, env, descriptors)
        else:
            self.fork(command, parent, env, descriptors)

    def parent_of(self, command: Climb) -> Held | None:
        """The zygote that this climb starts from, when it is up."""
        agent = self._agent
        staged = agent.roster.zygotes.get(command.spec.version)
        environment = agent.roster.environments.get(command.spec.environment_key)
        from_staged = command.target.kind == "instance" and command.origin == Step.STAGED
        if command.device is not None and agent.devices.places_in_worker(command.device):
            from_staged = False  # what a staged zygote has mapped is of no use on a card
        parent = staged if from_staged else environment
        return parent if parent is not None and parent.ready and not parent.process.exited else None

    def fork(
        self, command: Climb, parent: Held, env: dict[str, str], data: list[int],
        stream: Stream | None = None, **more: Any,
    ) -> None:  # fmt: skip
        """`stream` is where its weights still come from; `more` is for the Fork message. Raises OSError."""
        role: Role = "worker" if command.target.kind == "instance" else "stage"
        agent, spec = self._agent, command.spec
        more |= {"env": env, "prime": command.prime, **agent.births.share(spec)}
        if role == "worker":
            more["gang"] = agent.gangs.place(command)
        if command.device is not None:
            self._fork_on(command.device, command, parent, tuple(data), stream, more)
            return
        held = agent.births.child(
            parent, role, command.target, spec, data=tuple(data), climb=command, **more,
            rehearse=command.facts is not None and command.facts.rehearsed,
        )  # fmt: skip
        agent.standing_back.begin(held, command)
        agent.roster.add(held)

    def _fork_on(
        self, number: DeviceId, command: Climb, parent: Held, data: tuple[int, ...], stream: Stream | None,
        more: dict[str, Any],
    ) -> None:  # fmt: skip
        """A worker on a device. Raises OSError."""
        agent = self._agent
        context: Held | None = None
        try:
            device = agent.devices.find(number)
            # What the workers of a gang have together lies where a context process may not reach.
            context = agent.contexts.take(command, device) if more.get("gang") is None else None
            residence = device.admit(command, has_context=context is not None, stream=stream)
        except CapacityError as error:
            if context is not None:
                agent.contexts.put_back(context, device)
            agent.fail(command, error.code, error.message)
            return
        more["device"] = residence.setting
        data = (*data, *device.descriptors)
        try:
            if context is None:
                held = agent.births.child(
                    parent, "worker", command.target, command.spec, data=data, climb=command, **more
                )
            else:
                held = context
                agent.contexts.become_worker(held, command, data, **more)
        except BaseException:
            device.leave(residence)
            raise
        held.residence = residence
        agent.standing_back.leave_disk(held, command)
        agent.roster.add(held)
