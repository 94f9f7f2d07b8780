"""What a thread of a worker does for the requests that it was given: runs the call, and answers."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from types import GeneratorType
from typing import Any

from glowplug.core.batches import rows
from glowplug.core.errors import print_safely
from glowplug.node.answers import Answers
from glowplug.node.call_thread import CallThread
from glowplug.node.interrupts import Interrupted
from glowplug.node.lead import Lead
from glowplug.node.results import ItemEncoder, encode_result
from glowplug.node.routes import Route
from glowplug.transport.worker_side import Incoming

_END: Any = object()


class ThreadAnswers:
    """Used by all threads at once; takes the lead's lock where it writes."""

    def __init__(self, answers: Answers, lead: Lead) -> None:
        self._answers = answers
        self._endpoint = answers.endpoint
        self._lead = lead
        self._lock = lead.lock
        answers.share(lead.lock)
        self._wanting: set[CallThread] = set()
        """Those that wait for credit."""

    def look_for_credit(self) -> None:
        """Something has come, with the lock."""
        for thread in self._wanting:
            thread.news.notify()

    def one(self, thread: CallThread, route: Route, incoming: Incoming) -> None:
        """Calls `route` for one request."""
        start_s = monotonic()
        try:
            self._answers.check(incoming, start_s)
        except Exception as error:
            route.took(monotonic() - start_s)
            self._answers.deny(incoming.request, error)
            return
        try:
            decoded = route.signature.decode
            result = thread.calls.run(route.call, **decoded(incoming.content_type, incoming.body))
            if isinstance(result, GeneratorType):
                self._stream(thread, incoming, result, start_s)
                return
            status, content_type, body = encode_result(result, incoming.accept)
        except BaseException as error:
            route.took(monotonic() - start_s)
            self._answers.fail(incoming.request, error)
        else:
            result = None  # it may be a view of the request's body, which is to be given back
            route.took(monotonic() - start_s)
            self._answers.reply(incoming, status, content_type, body, start_s)

    def batch(
        self,
        thread: CallThread,
        route: Route,
        members: list[Incoming],
        arguments: dict[str, list[Any]],
        start_s: float,
    ) -> None:
        """Calls it once for all `members`."""
        try:
            results = rows(thread.calls.run(route.call, **arguments), len(members), route.spec.name)
            arguments.clear()  # what they lie in is given back with the answers
        except BaseException as error:
            self._answers.fail_each(members, error)
        else:
            self._answers.reply_each(members, results, start_s)

    def _stream(self, thread: CallThread, incoming: Incoming, items: Iterator[Any], start_s: float) -> None:
        """Sends what `items` yields as it comes."""
        request, encoder, begun = incoming.request, ItemEncoder(incoming.accept), False
        with self._lock:
            if self._lead.holder is thread:
                self._lead.give_up()
        try:
            while (item := thread.calls.run(next, items, _END)) is not _END:
                data = encoder.encode(item)
                if not begun:
                    begun = True
                    self._begin_stream(request, encoder.content_type, start_s)
                self._push(thread, request, data)
        except BaseException as error:
            self._close(thread, items)
            self._answers.fail(request, error)
        else:
            if not begun:
                self._begin_stream(request, encoder.content_type, start_s)
            with self._lock:
                self._endpoint.end(request, self._answers.stamp(start_s)[0])

    def _begin_stream(self, request: int, content_type: str, start_s: float) -> None:
        with self._lock:
            self._endpoint.begin(request, content_type, *self._answers.stamp(start_s, is_over=False))

    def _push(self, thread: CallThread, request: int, data: bytes | bytearray | memoryview) -> None:
        """Returns when the last of `data` is sent. Raises RequestCancelled."""
        rest = memoryview(data)
        with self._lock:
            while True:
                rest = rest[self._endpoint.chunk(request, rest) :]
                self._endpoint.flush()
                if not rest:
                    return
                if thread.stopped is not None:
                    raise Interrupted
                self._wanting.add(thread)
                thread.news.wait()
                self._wanting.discard(thread)

    def _close(self, thread: CallThread, items: Iterator[Any]) -> None:
        """Ends a generator; its finally blocks run."""
        with self._lock:
            thread.renew()
        try:
            thread.calls.run(items.close)  # type: ignore[attr-defined]
        except BaseException as error:
            print_safely(error)
