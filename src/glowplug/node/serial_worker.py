"""The usual worker: one call after another in the main thread, where a signal can interrupt it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from types import GeneratorType
from typing import Any

from glowplug.core.batches import columns, rows
from glowplug.core.errors import print_safely
from glowplug.node.answers import HOLD_S, QUICK_S, Answers
from glowplug.node.gathering import Gathering
from glowplug.node.inference import stay_in_inference_mode
from glowplug.node.interrupts import Interrupted, Interrupts
from glowplug.node.results import ItemEncoder, encode_result
from glowplug.node.routes import Route, Routes
from glowplug.transport.worker_side import Incoming

_COMPANY_S = 0.25
IDLE_S = 0.3
"""After a call that was not quick: when nothing comes for so long the worker rests."""


class SerialWorker:
    """Answers until the gateway is gone. Requests that come meanwhile wait, in their order.

    Answers are written together while further requests are at hand, but none is held behind a call that may
    take long, nor longer than HOLD_S and one quick call. Where `batches_are_made` by whoever sends, requests
    say how many belong together, and none waits for any other. `rest` is called when it has nothing to do
    after a call that took long.
    """

    def __init__(
        self,
        answers: Answers,
        routes: Routes,
        interrupts: Interrupts,
        rest: Callable[[], object],
        *,
        batches_are_made: bool = False,
    ) -> None:
        self._answers = answers
        self._endpoint = answers.endpoint
        self._routes = routes
        self._interrupts = interrupts
        self._gatherings: dict[Route, Gathering] = {}
        self._held_since_s = 0.0
        self._batches_are_made = batches_are_made
        self._rest = rest
        self._may_rest = False

    def run(self) -> None:
        receive = self._endpoint.receive
        while (incoming := receive()) is not None:
            self._answer(incoming)
            del incoming
            self._answers.settled()
            if self._answers.is_spoiled:
                self._endpoint.flush()
                return
            if self._may_rest:
                self._rest_when_idle()

    def _rest_when_idle(self) -> None:
        self._may_rest = False
        self._endpoint.flush()
        if not self._endpoint.waiting and not self._endpoint.wait(IDLE_S):
            self._rest()

    def _answer(self, incoming: Incoming) -> None:
        start_s = monotonic()
        try:
            route = self._routes.find(incoming.endpoint)
            if not route.in_batches:
                self._answers.check(incoming, start_s)
        except Exception as error:
            self._note_held(start_s)
            self._answers.deny(incoming.request, error)
            return
        if route.in_batches:
            self._endpoint.flush()
            self._answer_batch(self._gather(incoming, route), route)
            self._may_rest = monotonic() - start_s > QUICK_S
        else:
            if self._endpoint.unsent and (
                route.expected_s > QUICK_S or start_s - self._held_since_s > HOLD_S
            ):
                self._endpoint.flush()
            self._answer_one(incoming, route, start_s)
            took_s = monotonic() - start_s
            route.took(took_s)
            # A quick one is not delayed by looking, and leaves little.
            self._may_rest = took_s > QUICK_S

    def _note_held(self, now_s: float) -> None:
        if not self._endpoint.unsent:
            self._held_since_s = now_s

    def _answer_one(self, incoming: Incoming, route: Route, start_s: float) -> None:
        interrupts = self._interrupts
        try:
            interrupts.begin((incoming.request,))
            if self._answers.is_unwanted(incoming.request):  # since it was checked
                raise Interrupted
            stay_in_inference_mode()
            result = route.call(**route.signature.decode(incoming.content_type, incoming.body))
            if type(result) is GeneratorType:
                self._stream(incoming, result, start_s)
                return
            status, content_type, body = encode_result(result, incoming.accept)
            interrupts.interruptible = False
        except BaseException as error:
            interrupts.interruptible = False
            self._note_held(start_s)
            self._answers.fail(incoming.request, error)
        else:
            result = None  # it may be a view of the request's body, which is to be given back
            self._note_held(start_s)
            self._answers.reply(incoming, status, content_type, body, start_s)
        finally:
            interrupts.end()

    def _stream(self, incoming: Incoming, items: Iterator[Any], start_s: float) -> None:
        """Sends what `items` yields as it comes. Interruptible when called."""
        request, interrupts = incoming.request, self._interrupts
        encoder = ItemEncoder(incoming.accept)
        begun = False
        try:
            for item in items:
                interrupts.interruptible = False
                data = encoder.encode(item)
                if not begun:
                    begun = True
                    self._begin(request, encoder.content_type, start_s)
                self._push(request, data)
                interrupts.resume()
            interrupts.interruptible = False
        except BaseException as error:
            interrupts.interruptible = False
            _close(items)
            self._answers.fail(request, error)
        else:
            if not begun:
                self._begin(request, encoder.content_type, start_s)
            self._endpoint.end(request, self._answers.stamp(start_s)[0])
        self._endpoint.flush()

    def _begin(self, request: int, content_type: str, start_s: float) -> None:
        self._endpoint.begin(request, content_type, *self._answers.stamp(start_s, is_over=False))

    def _push(self, request: int, data: bytes | bytearray | memoryview) -> None:
        """Returns when the last of `data` is sent. Whoever waits for credit may be interrupted. Raises
        BrokenPipeError when the gateway is gone."""
        endpoint, rest = self._endpoint, memoryview(data)
        while True:
            rest = rest[endpoint.chunk(request, rest) :]
            endpoint.flush()
            if not rest:
                return
            self._interrupts.resume()
            endpoint.wait()
            self._interrupts.interruptible = False
            if not endpoint.read() and endpoint.ended:
                raise BrokenPipeError("the gateway is gone")

    def _gather(self, first: Incoming, route: Route) -> list[Incoming]:
        """`first`, and the requests for the same endpoint that are there or may be expected soon."""
        if self._batches_are_made:
            return self._gather_made(first, route)
        endpoint, gathering = self._endpoint, self._gathering(route)
        limit = gathering.max_batch
        endpoint.read()
        members = [first, *endpoint.take_for(first.endpoint, limit - 1)]
        until_s = monotonic() + gathering.max_wait_s
        while len(members) < gathering.wanted and not endpoint.waiting and not endpoint.ended:
            left_s = until_s - monotonic()
            if left_s <= 0 or not endpoint.wait(left_s):
                break
            endpoint.read()
            members += endpoint.take_for(first.endpoint, limit - len(members))
        return members

    def _gather_made(self, first: Incoming, route: Route) -> list[Incoming]:
        """`first` and those that were sent with it, which are here or on their way: one that its client gave
        up meanwhile is not waited for any longer than _COMPANY_S."""
        endpoint, wanted = self._endpoint, min(max(1, first.together), route.spec.max_batch)
        members, until_s = [first], monotonic() + _COMPANY_S
        while True:
            members += endpoint.take_for(first.endpoint, wanted - len(members))
            left_s = until_s - monotonic()
            if len(members) >= wanted or endpoint.ended or left_s <= 0 or not endpoint.wait(left_s):
                return members
            endpoint.read()

    def _gathering(self, route: Route) -> Gathering:
        if route not in self._gatherings:
            self._gatherings[route] = Gathering(route.spec.max_batch, route.spec.max_wait_s)
        return self._gatherings[route]

    def _answer_batch(self, members: list[Incoming], route: Route) -> None:
        start_s = monotonic()
        valid, arguments = self._answers.admit(members, route.signature, start_s)
        if valid:
            self._run_batch(valid, columns(arguments), route, start_s)
        self._endpoint.read()
        together = len(members) + self._endpoint.waiting_for(members[0].endpoint)
        self._gathering(route).saw(together)
        self._endpoint.flush()

    def _run_batch(
        self, members: list[Incoming], arguments: dict[str, list[Any]], route: Route, start_s: float
    ) -> None:
        interrupts, answers = self._interrupts, self._answers
        try:
            interrupts.begin(member.request for member in members)
            interrupts.leave_out(m.request for m in members if answers.is_unwanted(m.request))
            stay_in_inference_mode()
            results = rows(route.call(**arguments), len(members), route.spec.name)
            arguments.clear()  # what they lie in is given back with the answers
            interrupts.interruptible = False
        except BaseException as error:
            interrupts.interruptible = False
            answers.fail_each(members, error)
        else:
            answers.reply_each(members, results, start_s)
        finally:
            interrupts.end()


def _close(items: Iterator[Any]) -> None:
    """Ends a generator; its finally blocks run."""
    try:
        items.close()  # type: ignore[attr-defined]
    except BaseException as error:
        print_safely(error)
