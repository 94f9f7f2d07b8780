"""What all kinds of worker do with the requests of their data socket: refuse, stamp, and answer."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec

from glowplug.core.errors import (
    DeadlinePassed,
    FunctionFailed,
    GlowplugError,
    InvalidArguments,
    RequestCancelled,
    known_code,
    print_safely,
    sayable,
    told,
)
from glowplug.loader.errors import LoaderError
from glowplug.node import wire
from glowplug.node.arguments import Signature
from glowplug.node.hints import explained
from glowplug.node.interrupts import Interrupted
from glowplug.node.messages import LetGo
from glowplug.node.results import encode_result
from glowplug.transport.several_gateways import SeveralGateways
from glowplug.transport.worker_answers import Body
from glowplug.transport.worker_side import Incoming, WorkerEndpoint

if TYPE_CHECKING:
    from glowplug.loader.reader import MappedPack

QUICK_S = 200e-6
"""A call shorter than this may have its answer held, to be sent with the next."""
HOLD_S = 500e-6
"""An answer is held at most this long."""
_UNWANTED_KEPT = 256
_MESSAGE_CHARS = 2000
_FIELD_CHARS = 200
P = ParamSpec("P")


class Answers:
    """The way out of one worker, from before it has climbed."""

    def __init__(
        self, function: str, endpoint: WorkerEndpoint | SeveralGateways, control: socket.socket
    ) -> None:
        self.endpoint = endpoint
        self._reply, self._error = endpoint.reply, endpoint.error
        self._function = function
        self._control = control
        self._climb: dict[str, float] | None = None
        self._origin = ""
        self._pack: MappedPack | None = None
        self._waited_before_s = 0.0
        self._unwanted: dict[int, None] = {}
        """Requests that were cancelled while they did not run: over, or still to come. The oldest first."""

    def share(self, lock: threading.RLock) -> None:
        """Several threads answer from now on. One at a time writes, with `lock`."""
        self._reply, self._error = _under(lock, self._reply), _under(lock, self._error)

    def climbed(self, phases: dict[str, float] | None, origin: str, pack: MappedPack | None) -> None:
        """The worker is ready. `phases` are the climb's when the first requests waited for it, which began at
        the step `origin`; `pack` is where weights still arrive."""
        self._climb, self._origin, self._pack = phases, origin, pack

    def settled(self) -> None:
        """Those that waited for the climb are answered."""
        self._climb = None

    def check(self, incoming: Incoming, now_s: float) -> None:
        """Raises what a request that must not run is answered with."""
        if self.is_unwanted(incoming.request):
            raise RequestCancelled("the request was cancelled")
        if 0.0 < incoming.deadline_s < now_s:
            raise DeadlinePassed(f"{self._function}: the deadline passed before the request could begin")
        if self._pack is not None and self._pack.error is not None:
            raise self._pack.error

    @property
    def is_spoiled(self) -> bool:
        """Its weights did not come: another worker may have more luck."""
        return self._pack is not None and self._pack.error is not None

    def is_unwanted(self, request: int) -> bool:
        return request in self._unwanted

    def refuse(self, request: int) -> None:
        """A cancelled request that does not run: when it comes it is not begun, and nobody is killed for it.
        The oldest are forgotten."""
        self._unwanted[request] = None
        if len(self._unwanted) > _UNWANTED_KEPT:
            del self._unwanted[next(iter(self._unwanted))]
        self.let_go(request)

    def let_go(self, request: int) -> None:
        wire.send(self._control, LetGo(request))

    def reply(self, incoming: Incoming, status: int, content_type: str, body: Body, started_s: float) -> None:
        phases, origin = self.stamp(started_s)
        self._reply(incoming.request, status, content_type, body, phases, origin)

    def admit(
        self, members: list[Incoming], signature: Signature, now_s: float
    ) -> tuple[list[Incoming], list[dict[str, Any]]]:
        """The members of a batch that may run, and each one's arguments; the others are answered."""
        valid: list[Incoming] = []
        arguments: list[dict[str, Any]] = []
        for member in members:
            try:
                self.check(member, now_s)
                arguments.append(signature.decode(member.content_type, member.body))
                valid.append(member)
            except Exception as error:
                self.deny(member.request, error)
        return valid, arguments

    def reply_each(self, members: list[Incoming], results: list[Any], started_s: float) -> None:
        """To each member of a batch its own result, or its own error. `results` is emptied."""
        results.reverse()
        for member in members:
            try:
                result = results.pop()
                if self.is_unwanted(member.request):
                    raise Interrupted
                if isinstance(result, BaseException):
                    raise result
                status, content_type, body = encode_result(result, member.accept)
                del result
            except BaseException as error:
                self.fail(member.request, error)
            else:
                self.reply(member, status, content_type, body, started_s)

    def fail_each(self, members: list[Incoming], error: BaseException) -> None:
        """To each member of a batch the error that ended it."""
        self.fail(members[0].request, error)
        for member in members[1:]:
            self._fail(member.request, error)

    def deny(self, request: int, error: Exception) -> None:
        """Answers a request that was not begun with why."""
        if isinstance(error, GlowplugError):
            self._say(request, error)
        else:
            self.fail(request, error)

    def fail(self, request: int, error: BaseException) -> None:
        """Answers with what a call ended with, or ends its stream with that. What the error's frames hold is
        let go."""
        if not (_is_for_the_client(error) or isinstance(error, LoaderError)):
            print_safely(error)
        self._fail(request, error)

    def _fail(self, request: int, error: BaseException) -> None:
        if _is_for_the_client(error):
            assert isinstance(error, GlowplugError)
            self._say(request, error)
            return
        _let_go_of_frames(error)
        if isinstance(error, LoaderError):
            message = f"{self._function}: its weights did not come: {error}"
            self._error(request, "weights", sayable(message[:_MESSAGE_CHARS]))
            return
        self._error(request, FunctionFailed.code, sayable(explained(error, _MESSAGE_CHARS)))

    def _say(self, request: int, error: GlowplugError) -> None:
        _let_go_of_frames(error)
        try:
            code, message, field = known_code(error), sayable(told(error)), getattr(error, "field", None)
            if field is not None:
                field = sayable(str(field))[:_FIELD_CHARS]
        except Exception:  # its attributes are the user's code
            code, message, field = FunctionFailed.code, type(error).__name__, None
        self._error(request, code, message, field)

    def stamp(self, started_s: float, is_over: bool = True) -> tuple[dict[str, float], str]:
        """Phases of what was begun at `started_s`, by the monotonic clock, and the step it came from."""
        took_s = time.monotonic() - started_s
        if self._climb is None and self._pack is None:
            return {"compute": took_s}, "parked"
        return self._stamp_slowly(took_s, is_over)

    def _stamp_slowly(self, took_s: float, is_over: bool) -> tuple[dict[str, float], str]:
        phases = dict(self._climb or {})
        waited_s = 0.0
        if self._pack is not None:
            until_s = self._pack.waited_s
            waited_s = until_s - self._waited_before_s
            if is_over:
                self._waited_before_s = until_s
        if waited_s:
            phases["fetch"] = phases.get("fetch", 0.0) + waited_s
        phases["compute" if self._climb is None else "first_compute"] = max(0.0, took_s - waited_s)
        origin = "parked" if self._climb is None else self._origin
        return phases, origin


def _let_go_of_frames(error: BaseException) -> None:
    """Also of one whose class lets nobody set anything, as a frozen dataclass does."""
    BaseException.with_traceback(error, None)


def _is_for_the_client(error: BaseException) -> bool:
    """Whether what a call ended with is said as it is: that its arguments do not fit, by whoever found that,
    that its result cannot be sent, or that it was cancelled. All else is the function's failure, also what
    another function answered to it: a client takes a code for one about its own request."""
    if not isinstance(error, (InvalidArguments, FunctionFailed, Interrupted)):
        return False
    try:
        return not error.of_a_call
    except Exception:  # its attributes are the user's code
        return False


def _under(lock: threading.RLock, call: Callable[P, None]) -> Callable[P, None]:
    def locked(*args: P.args, **kwargs: P.kwargs) -> None:
        with lock:
            call(*args, **kwargs)

    return locked
