"""Follows one request while a journal is handled again, and notes what is decided about it.

It changes nothing that the policies look at, so they decide the same (told.py).
"""

from __future__ import annotations

import msgspec

from glowplug.control.context import Context
from glowplug.control.explaining import evictions, places
from glowplug.control.explaining.told import ToldDispatch, ToldScheduling
from glowplug.control.fleet.view import FleetView
from glowplug.control.records import Request
from glowplug.control.views import FunctionView
from glowplug.core import commands as k
from glowplug.core import events as e
from glowplug.core.explanation import Action, Decision, Eviction, Explanation, Happening, Place
from glowplug.core.ids import CommandId, FunctionId, InstanceId, RequestId, VersionId
from glowplug.policy.dispatch import Choice, DispatchView
from glowplug.policy.scheduling import Decision as Scheduled
from glowplug.policy.scheduling import FleetView as PolicyView
from glowplug.policy.scheduling import Send

_MOST_NOTES = 200
_MOST_WARNINGS = 5


class Watch:
    """`before` and `after` each event; `explanation` at any time once the request has come."""

    def __init__(self, c: Context, request: RequestId) -> None:
        self._c = c
        self._number = request
        self._function = FunctionId("")
        self._arrived_s = 0.0
        self._ended_s: float | None = None
        self._outcome = "under way"
        self._event = ""
        self._looks = 0
        self._decisions: list[Decision] = []
        self._evictions: list[Eviction] = []
        self._happenings: list[Happening] = []
        self._warnings: list[str] = []
        self._climbs: dict[CommandId, str] = {}
        """Those of its function that began while it waited, and what they bring where."""
        c.policies = msgspec.structs.replace(
            c.policies,
            scheduling=ToldScheduling(c.policies.scheduling, self),
            dispatch=ToldDispatch(c.policies.dispatch, self),
        )

    @property
    def has_begun(self) -> bool:
        return bool(self._function)

    @property
    def is_over(self) -> bool:
        return self._ended_s is not None

    def warn(self, text: str) -> None:
        if len(self._warnings) < _MOST_WARNINGS:
            self._warnings.append(text)

    def cut_off(self) -> None:
        """The journal of its server ends while it is under way."""
        if self.has_begun and not self.is_over:
            self._note("its server ended")
            self._outcome = "cut off"

    def explanation(self) -> Explanation:
        settings = self._c.settings
        return Explanation(
            request=self._number,
            function=self._function,
            policy=f"scheduling {settings.scheduling}"
            if self._is_for_devices()
            else f"dispatch {settings.dispatch}",
            arrived_s=self._arrived_s,
            outcome=self._outcome,
            latency_s=None if self._ended_s is None else self._ended_s - self._arrived_s,
            looks=self._looks,
            decisions=tuple(self._decisions),
            evictions=tuple(self._evictions),
            happenings=tuple(self._happenings),
            warnings=tuple(self._warnings),
        )

    # what comes in and what goes out

    def before(self, event: e.Event, now_s: float) -> None:
        self._event = type(event).__name__
        if isinstance(event, e.RequestArrived) and event.request == self._number and not self.has_begun:
            self._function, self._arrived_s = event.function, now_s

    def after(self, event: e.Event, commands: list[k.Command]) -> None:
        if not self.has_begun:
            return
        self._note_event(event)
        for command in commands:
            self._note_command(command)
        self._evictions += evictions.of(self._c, self._function, commands, self._at_s)

    def _note_event(self, event: e.Event) -> None:
        if isinstance(event, e.RequestArrived) and event.request == self._number:
            function = self._c.store.functions.get(self._function)
            if function is not None and function.active is None:
                self._note("its function was not built yet")
        elif isinstance(event, e.Built) and self._waits and self._is_own(event.version):
            self._note(f"its function was built; it took {event.took_s:.3f} s")
        elif isinstance(event, e.StepReached) and event.command in self._climbs:
            self._note(f"{self._climbs.pop(event.command)} arrived; it took {event.took_s:.3f} s")
        elif isinstance(event, e.CommandFailed) and event.command in self._climbs:
            self._note(f"{self._climbs.pop(event.command)} failed: {event.code}: {event.message}")
        elif isinstance(event, e.DeviceLost):
            self._note(f"device {event.device} was lost: {event.why}")
        elif isinstance(event, e.DeviceJoined):
            self._note(f"device {event.spec.device} joined")
        elif isinstance(event, e.RequestDone) and event.request == self._number:
            if self._number not in self._c.store.requests:
                self._note(f"worker {event.instance} was done after {event.took_s:.3f} s of computing")
                self._end("answered" if event.ok else "failed")
        elif isinstance(event, e.RequestCancelled) and event.request == self._number:
            self._note("its client left")
            self._end("cancelled")

    def _note_command(self, command: k.Command) -> None:
        if isinstance(command, k.Dispatch) and self._number in command.requests:
            others = len(command.requests) - 1
            beside = f", in a batch with {others} others" if others else ""
            self._note(f"sent to {self._worker(command.instance)}{beside}")
        elif isinstance(command, k.Climb) and self._concerns(command):
            self._climbs[command.id] = words = _climb_words(command)
            self._note(f"{words} began")
        elif isinstance(command, k.Build) and self._waits and command.spec.function == self._function:
            self._note("the build of its function began")
        elif isinstance(command, k.Reject) and command.request == self._number:
            self._note(f"refused: {command.message}")
            self._end(command.code)

    def _concerns(self, command: k.Climb) -> bool:
        if command.target.kind == "environment":
            return self._waits and command.target.key == self._environment()
        return self._waits and command.spec.function == self._function

    def _environment(self) -> str:
        function = self._c.store.functions[self._function]
        number = function.active or function.next
        return "" if number is None else self._c.store.versions[number].spec.environment_key

    # what policies are asked, and say

    def asked(self) -> None:
        """The scheduling policy is asked."""
        self._looks += self._is_queued() and self._is_for_devices()

    def looked(self, view: PolicyView) -> None:
        """It was asked, and the request still waits: for what?"""
        if not (self._is_queued() and self._is_for_devices()):
            return
        assert isinstance(view, FleetView)
        self._wait(places.on_devices(view, self._function))

    def scheduled(self, decision: Scheduled, view: PolicyView) -> None:
        """Called before it is carried out."""
        if not self._is_queued():
            return
        assert isinstance(view, FleetView)
        if isinstance(decision, Send):
            if self._number in decision.requests:
                count = len(decision.requests)
                found = places.on_devices(view, self._function, count, decision.device)
                self._decide("send", decision.device, found, count)
        elif decision.function == self._function:
            found = places.on_devices(view, self._function, 1, decision.device)
            self._decide("load", decision.device, found)

    def dispatched(self, view: DispatchView, ahead: int, choice: Choice) -> None:
        """Called before it is carried out."""
        if not isinstance(view, FunctionView) or view.function != self._function or not self._is_queued():
            return
        queue = list(self._c.store.functions[self._function].queue)
        if ahead >= len(queue) or queue[ahead] != self._number:
            return
        self._looks += 1
        found = places.on_workers(view, ahead)
        if choice.action == "wait":
            self._wait(found)
        else:
            new = choice.action == "climb"
            self._decide(choice.action, "a new worker" if new else f"worker {choice.instance}", found)

    def _wait(self, found: tuple[Place, ...]) -> None:
        best = found[0].place if found else ""
        last = self._decisions[-1] if self._decisions else None
        if last is None or last.what != "wait" or last.place != best:
            self._decide("wait", best, found)

    def _decide(self, what: Action, place: str, found: tuple[Place, ...], count: int = 1) -> None:
        if len(self._decisions) < _MOST_NOTES:
            self._decisions.append(Decision(self._at_s, what, place, self._event, found, count))

    # small things

    @property
    def _at_s(self) -> float:
        return self._c.now_s - self._arrived_s

    @property
    def _waits(self) -> bool:
        request = self._request()
        return request is not None and request.state in ("queued", "lined", "bound")

    def _is_own(self, number: VersionId) -> bool:
        version = self._c.store.versions.get(number)
        return version is not None and version.spec.function == self._function

    def _is_for_devices(self) -> bool:
        function = self._c.store.functions.get(self._function)
        return function is not None and function.on_device

    def _is_queued(self) -> bool:
        request = self._request()
        return request is not None and request.state == "queued"

    def _request(self) -> Request | None:
        return self._c.store.requests.get(self._number) if self.has_begun else None

    def _worker(self, number: InstanceId) -> str:
        instance = self._c.store.instances.get(number)
        where = f" on {instance.device}" if instance is not None and instance.device is not None else ""
        return f"worker {number}{where}"

    def _note(self, what: str) -> None:
        if len(self._happenings) < _MOST_NOTES:
            self._happenings.append(Happening(self._at_s, what))

    def _end(self, outcome: str) -> None:
        self._outcome, self._ended_s = outcome, self._c.now_s


def _climb_words(command: k.Climb) -> str:
    if command.target.kind == "environment":
        return "the climb of its environment"
    if command.target.kind == "version":
        return "the climb of its function's zygote"
    if command.target.kind == "part":
        head, _, number = command.target.key.partition(".")
        return f"the climb of part {number} of worker {head}"
    worker = f"worker {command.target.key}"
    if command.device is None:
        return f"the climb of {worker} from {command.origin.label}"
    return f"the load of its model onto {command.device}, as {worker} from {command.origin.label},"
