"""The Python client: what the command line and `.remote()` use, over the gateway's HTTP interface."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any
from urllib.parse import quote

from glowplug.answer import Answer, Stream
from glowplug.call import Call
from glowplug.client.administration import Administration
from glowplug.client.beside import Beside
from glowplug.client.connection import ConnectionLost, ForeignAnswer, check_done
from glowplug.core.bodies import JSON, encode_arguments
from glowplug.core.calls import CallRecord
from glowplug.core.errors import GlowplugError
from glowplug.core.ids import parse_function_id
from glowplug.core.priority import PriorityLabel, rank_of

_WAIT_S = 30.0
"""How long the server is asked to wait before it answers that a call has not ended."""


class Client(Administration):
    """Talks to one server. Close it, or use it in a `with`; one client may serve several threads.

    `url` is GLOWPLUG_URL unless given, else http://localhost:8000; `token` is GLOWPLUG_TOKEN unless given.
    Every method raises the error of core.errors that the server answered with, and Unavailable when nothing
    answers there.
    """

    def invoke(
        self,
        function: str,
        arguments: Any = None,
        endpoint: str | None = None,
        *,
        timeout_s: float | None = None,
        accept: str = JSON,
    ) -> Any:
        """The answer of `function` (`name` or `name.namespace`), decoded. See `call`."""
        return self.call(function, arguments, endpoint, timeout_s=timeout_s, accept=accept).value()

    def call(
        self,
        function: str,
        arguments: Any = None,
        endpoint: str | None = None,
        *,
        timeout_s: float | None = None,
        accept: str = JSON,
    ) -> Answer:
        """Sends `arguments`: a mapping by name, one array, bytes, or the bare value of an only argument.
        A single array travels as `.npy`, arrays among other arguments as nested lists. `timeout_s` is a
        deadline that the server keeps: the sooner of this and the function's own `timeout=`. What a stream
        yields is one list.
        """
        with self.stream(function, arguments, endpoint, timeout_s=timeout_s, accept=accept) as stream:
            return stream.answer()

    def stream(
        self,
        function: str,
        arguments: Any = None,
        endpoint: str | None = None,
        *,
        timeout_s: float | None = None,
        accept: str = JSON,
    ) -> Stream:
        """As `call`; returns as soon as the answer begins."""
        content_type, body = encode_arguments(arguments)
        path = _address("function", function, endpoint)
        headers = {"content-type": content_type, "accept": accept}
        if timeout_s is not None:
            headers["x-glowplug-timeout"] = repr(timeout_s)
        with self._errors():
            http = self._http()
            request = http.build_request("POST", path, content=body, headers=headers)
            response = http.send(request, stream=True)
            check_done(response)
            if "x-glowplug-request" not in response.headers:
                response.close()
                raise ForeignAnswer(response.url, "it answered without having called a function")
        return Stream(response, self._errors)

    def map(
        self,
        function: str,
        arguments: Iterable[Any],
        endpoint: str | None = None,
        *,
        concurrency: int = 16,
        return_exceptions: bool = False,
        timeout_s: float | None = None,
    ) -> Iterator[Any]:
        """The answers to `invoke` for each of `arguments`, in their order, as they come. `concurrency` are
        asked at once, and the next only when an answer has been taken. The first error ends it, unless errors
        are returned in their places."""
        if concurrency < 1:
            raise ValueError("concurrency is at least 1")
        beside = Beside(concurrency, "glowplug-map")
        asked: deque[Future[Any]] = deque()
        try:
            for given in arguments:
                ask = partial(self.invoke, function, given, endpoint, timeout_s=timeout_s)
                asked.append(beside.submit(ask))
                if len(asked) == concurrency:
                    yield _outcome(asked.popleft(), return_exceptions)
            while asked:
                yield _outcome(asked.popleft(), return_exceptions)
        finally:
            for future in asked:
                future.cancel()
            beside.close()

    def spawn(
        self,
        function: str,
        arguments: Any = None,
        endpoint: str | None = None,
        *,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
        priority: PriorityLabel = "background",
        key: str | None = None,
        callback_url: str | None = None,
        accept: str = JSON,
    ) -> Call:
        """Hands a call to the server and returns once that has stored it. `arguments` as of `call`.

        `timeout_s` bounds one attempt, as the function's own `timeout=` does, `deadline_s` all of them;
        `priority` is its class in queues, for memory and on the processor. Spawning again with the same `key`
        gives the same call; without one, each call gets its own. The result, or the error, is posted to
        `callback_url`.
        """
        content_type, body = encode_arguments(arguments)
        path = _address("async-function", function, endpoint)
        headers = {"content-type": content_type, "accept": accept}
        headers["idempotency-key"] = key if key is not None else secrets.token_hex(16)
        headers["x-glowplug-priority"] = str(int(rank_of(priority)))
        for name, value in (("timeout", timeout_s), ("deadline", deadline_s)):
            if value is not None:
                headers[f"x-glowplug-{name}"] = repr(value)
        if callback_url is not None:
            headers["x-callback-url"] = callback_url
        try:
            response = self._send("POST", path, content=body, headers=headers)
        except ConnectionLost:
            response = self._send("POST", path, content=body, headers=headers)
        call = response.headers.get("x-call-id")
        if call is None:
            raise ForeignAnswer(response.url, "it took the call without giving it an id")
        return Call(self, call)

    def spawned(self, call: str) -> Call:
        """A call by its id, whoever spawned it; the server is not asked."""
        return Call(self, call)

    def call_status(self, call: str) -> CallRecord:
        """Raises UnknownCall."""
        return self._json("GET", f"/system/calls/{quote(call, safe='')}", CallRecord)

    def call_result(self, call: str, wait_s: float | None = None) -> Answer | None:
        """None when the call has not ended within `wait_s`, or for as long as the server lets one wait.

        Raises the error that it ended with.
        """
        most_s = _WAIT_S if wait_s is None else max(0.0, min(wait_s, _WAIT_S))
        path = f"/system/calls/{quote(call, safe='')}/result"
        response = self._send("GET", path, params={"wait": most_s})
        if response.status_code == 202:
            return None
        return Answer(response.content, response.headers.get("content-type", JSON), 0, "", {})

    def calls(
        self,
        function: str | None = None,
        state: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[CallRecord]:
        """The newest first. `state` is one of core.calls.CallState, or `dead-letter` for those that can be
        retried; `before` is the id of the last call of the page before."""
        wanted = {"function": function, "state": state, "limit": limit, "before": before}
        params = {name: value for name, value in wanted.items() if value is not None}
        return self._json("GET", "/system/calls", list[CallRecord], params=params)

    def cancel_call(self, call: str) -> CallRecord:
        """The call as it is then: one that had ended stays as it was. Raises UnknownCall."""
        return self._json("DELETE", f"/system/calls/{quote(call, safe='')}", CallRecord)

    def retry_call(self, call: str, *, lost: bool = False) -> CallRecord:
        """Sends a dead letter once more; one that may have run only with `lost`. Raises CallNotRetriable."""
        path = f"/system/calls/{quote(call, safe='')}/retry"
        return self._json("POST", path, CallRecord, json={"lost": lost})


def _address(root: str, function: str, endpoint: str | None) -> str:
    path = f"/{root}/{parse_function_id(function)}"
    return f"{path}/{quote(endpoint, safe='')}" if endpoint else path


def _outcome(asked: Future[Any], return_exceptions: bool) -> Any:
    try:
        return asked.result()
    except GlowplugError as error:
        if return_exceptions:
            return error
        raise
