"""A worker: one instance of one function, answering requests one after another on its data socket."""

from __future__ import annotations

import os
import signal
import socket
import time
import traceback
from collections import deque
from collections.abc import Sequence

from glowplug.bundle.instantiate import Phases, Served, inference_mode
from glowplug.core.errors import GlowplugError, RequestCancelled, UnknownEndpoint
from glowplug.loader.errors import LoaderError
from glowplug.node import procfs, wire
from glowplug.node.arguments import Signature
from glowplug.node.messages import CancelRequest, Fork, LetGo, WorkerReady
from glowplug.node.parallel import restore_threads
from glowplug.node.zygote import give_back
from glowplug.transport.worker_side import Incoming, WorkerEndpoint

_CANCELLED = "the request was cancelled"
_UNWANTED_KEPT = 256


class Worker:
    """Lives in a process of its own, in its main thread. Ends when the gateway or the agent is gone.

    `served` is what its zygote had staged, else it climbs by itself; `imported_s` is what the environment's
    imports took when they were made for this very worker, else 0; `arriving` is
    for `load`, when its weights still stream into the node's disk cache.
    """

    def __init__(
        self,
        message: Fork,
        control: socket.socket,
        data: socket.socket,
        served: Served | None,
        imported_s: float,
        arriving: Sequence[int] = (),
    ) -> None:
        self.message = message
        self.control = control
        self.endpoint = WorkerEndpoint(data)
        self.served = served
        self.arriving = arriving
        self._waited_before_s = 0.0
        self.origin = (
            "remote"
            if arriving
            else "parked"
            if message.prime
            else "staged"
            if served
            else "local"
            if imported_s
            else "imported"
        )
        self.imported_s = imported_s
        self.current: int | None = None
        self.interruptible = False
        self.cancelled: int | None = None
        self._cancels = wire.Receiver(control, CancelRequest)
        self._unwanted: deque[int] = deque(maxlen=_UNWANTED_KEPT)
        """Requests that were cancelled while they did not run: over, or still to come."""

    def run(self) -> None:
        phases = Phases()
        if self.imported_s:
            phases.seconds["import"] = self.imported_s
            if self.message.environment_s:
                phases.seconds["environment"] = self.message.environment_s
        phases.seconds["fork"] = max(0.0, time.monotonic() - self.message.sent_s)
        if self.message.fetched_s:
            phases.seconds["fetch"] = self.message.fetched_s
        os.environ.setdefault("GLOWPLUG_FUNCTION", self.message.function)
        signal.signal(signal.SIGUSR1, self._on_cancel)
        from glowplug.node.roles import load

        served = self.served = self.served or load(self.message, phases, self.arriving)
        restore_threads()
        held = peak = 0
        if self.message.prime:
            with phases.phase("first_compute"):
                served.rehearse()
            peak = procfs.private_bytes()
            held = give_back(peak)
        elif served.pack is not None:
            served.pack.prefetch()
        wire.send(self.control, WorkerReady(phases.seconds, held, peak))
        first = phases.seconds if not self.message.prime else None
        while (incoming := self.endpoint.receive()) is not None:
            self._answer(incoming, first)
            first = None
            if served.pack is not None and served.pack.error is not None:
                return  # another may have more luck

    def _answer(self, incoming: Incoming, climb: dict[str, float] | None) -> None:
        """Answers one request. `climb` are the phases of the climb that this request waited for."""
        start = time.perf_counter()
        phases = dict(climb or {})
        try:
            self.current, self.interruptible = incoming.request, True
            self._read_cancels()
            if incoming.request in self._unwanted:
                raise RequestCancelled(_CANCELLED)
            status, content_type, body = self._call(incoming)
            self.interruptible = False
        except RequestCancelled as error:
            self.interruptible = False
            self.endpoint.error(incoming.request, error.code, error.message)
        except GlowplugError as error:
            self.interruptible = False
            self.endpoint.error(incoming.request, error.code, error.message, getattr(error, "field", None))
        except LoaderError as error:
            self.interruptible = False
            message = f"{self.message.function}: its weights did not come: {error}"
            self.endpoint.error(incoming.request, "weights", message[:2000])
        except BaseException as error:
            self.interruptible = False
            traceback.print_exc()
            line = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
            self.endpoint.error(incoming.request, "function_failed", line[:2000])
        else:
            name = "compute" if climb is None else "first_compute"
            waited_s = self._waited_s()
            if waited_s:
                phases["fetch"] = phases.get("fetch", 0.0) + waited_s
            phases[name] = max(0.0, time.perf_counter() - start - waited_s)
            origin = "parked" if climb is None else self.origin
            self.endpoint.reply(incoming.request, status, content_type, body, phases, origin)
        finally:
            self.current = None
            if self.cancelled == incoming.request:
                wire.send(self.control, LetGo(incoming.request))

    def _waited_s(self) -> float:
        """How long this request stood at the gates of weights that were still to arrive."""
        pack = self.served.pack if self.served is not None and self.arriving else None
        before_s, self._waited_before_s = self._waited_before_s, pack.waited_s if pack is not None else 0.0
        return self._waited_before_s - before_s

    def _call(self, incoming: Incoming) -> tuple[int, str, bytes | memoryview]:
        assert self.served is not None
        if self.served.pack is not None and self.served.pack.error is not None:
            raise self.served.pack.error
        name = incoming.endpoint or next(iter(self.served.endpoints))
        call = self.served.endpoints.get(name)
        if call is None:
            raise UnknownEndpoint(f"function {self.message.function} has no endpoint {name[:80]!r}")
        signature: Signature = self.served.signatures[name]
        arguments = signature.decode(incoming.content_type, incoming.body)
        with inference_mode():
            result = call(**arguments)
        return signature.encode(result, incoming.accept)

    def _on_cancel(self, *_: object) -> None:
        self._read_cancels()

    def _read_cancels(self) -> None:
        """Raises RequestCancelled when the request that runs is among those the agent wants stopped. Any
        other is answered at once: whoever runs by then must not be killed for it."""
        while True:
            try:
                found = self._cancels.receive(socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            if found is None:
                return
            request = found[0].request
            if request != self.current:
                self._unwanted.append(request)
                wire.send(self.control, LetGo(request))
                continue
            self.cancelled = request
            if self.interruptible:
                self.interruptible = False
                raise RequestCancelled(_CANCELLED)
