"""The Python client: what the command line and `.remote()` use, over the gateway's HTTP interface."""

from __future__ import annotations

import os
import secrets
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import quote

import msgspec

from glowplug.answer import Answer, Stream
from glowplug.call import Call
from glowplug.core.bodies import JSON, encode_arguments
from glowplug.core.calls import CallRecord
from glowplug.core.devices import Fault
from glowplug.core.errors import GlowplugError, InvalidArguments, Unavailable, from_code
from glowplug.core.explanation import Explanation
from glowplug.core.ids import DEFAULT_NAMESPACE, DeviceId, parse_function_id
from glowplug.core.priority import PriorityLabel, rank_of
from glowplug.core.status import DeviceStatus, FunctionStatus, Load, LogLine, PackagesList, RequestTrace

if TYPE_CHECKING:
    import httpx

DEFAULT_URL = "http://localhost:8000"
_CONNECT_S = 5.0
_CHUNK_BYTES = 2**20
_KEPT_CONNECTIONS = 64
_WAIT_S = 30.0
"""How long the server is asked to wait before it answers that a call has not ended."""
T = TypeVar("T")


class Client:
    """Talks to one server. Close it, or use it in a `with`; one client may serve several threads.

    `url` is GLOWPLUG_URL unless given, else http://localhost:8000; `token` is GLOWPLUG_TOKEN unless given.
    Every method raises the error of core.errors that the server answered with, and Unavailable when nothing
    answers there.
    """

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        self.url = (url or os.environ.get("GLOWPLUG_URL") or DEFAULT_URL).rstrip("/")
        self._token = token if token is not None else os.environ.get("GLOWPLUG_TOKEN")
        self._client: httpx.Client | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

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
        deadline that the server keeps; without it the function's own holds. What a stream yields is one list.
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
            if response.status_code >= 400:
                response.read()
                _raise_error(response)
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
        pool = ThreadPoolExecutor(concurrency, "glowplug-map")
        asked: deque[Future[Any]] = deque()
        try:
            for given in arguments:
                asked.append(pool.submit(self.invoke, function, given, endpoint, timeout_s=timeout_s))
                if len(asked) == concurrency:
                    yield _outcome(asked.popleft(), return_exceptions)
            while asked:
                yield _outcome(asked.popleft(), return_exceptions)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

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

        `timeout_s` bounds one attempt, `deadline_s` all of them. Spawning again with the same `key` gives the
        same call; without one, each call gets its own. The result, or the error, is posted to `callback_url`.
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
        return Call(self, response.headers["x-call-id"])

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

    def upload(self, source: Path | BinaryIO) -> str:
        """Streams a tar to the server; returns the upload's id, the sha256 of its bytes."""
        if isinstance(source, Path):
            with source.open("rb") as stream:
                return self.upload(stream)
        chunks = iter(lambda: source.read(_CHUNK_BYTES), b"")
        answer: dict[str, str] = self._json("PUT", "/system/uploads", dict[str, Any], content=chunks)
        return answer["upload"]

    def deploy(self, name: str, upload: str, *, update: bool = False, **options: Any) -> dict[str, Any]:
        """Deploys a declaration of an upload. `options` are fields of the OpenFaaS request: `namespace`,
        `envVars`, `secrets`, `labels`, `annotations`, `limits`. Returns once it is accepted, not built."""
        body = {"service": name, "image": upload, **options}
        return self._json("PUT" if update else "POST", "/system/functions", dict[str, Any], json=body)

    def functions(self) -> list[FunctionStatus]:
        return self._json("GET", "/system/functions", list[FunctionStatus])

    def describe(self, function: str) -> FunctionStatus:
        return self._json("GET", f"/system/function/{parse_function_id(function)}", FunctionStatus)

    def scale(self, function: str, replicas: int) -> None:
        path = f"/system/scale-function/{parse_function_id(function)}"
        self._send("POST", path, json={"replicas": replicas})

    def rollback(self, function: str, version: str | None = None) -> None:
        """Makes an earlier version the active one: the one before, unless `version` names another."""
        body = {} if version is None else {"version": version}
        self._send("POST", f"/system/functions/{parse_function_id(function)}/rollback", json=body)

    def undeploy(self, function: str) -> None:
        self._send("DELETE", f"/system/functions/{parse_function_id(function)}")

    def packages(self) -> PackagesList:
        """What is installed for environments that require packages of their own."""
        return self._json("GET", "/system/environments", PackagesList)

    def prune_packages(self, *, cache: bool = True) -> PackagesList:
        """Removes what no deployed version needs; with `cache` also what installers downloaded."""
        return self._json("POST", "/system/environments/prune", PackagesList, json={"cache": cache})

    def set_secret(self, name: str, value: str, namespace: str = DEFAULT_NAMESPACE) -> None:
        """Stores a secret; functions that declare it and start from now on find it among their variables."""
        self._send("POST", "/system/secrets", json={"name": name, "namespace": namespace, "value": value})

    def remove_secret(self, name: str, namespace: str = DEFAULT_NAMESPACE) -> None:
        """Raises UnknownSecret."""
        self._send("DELETE", "/system/secrets", json={"name": name, "namespace": namespace})

    def secrets(self, namespace: str = DEFAULT_NAMESPACE) -> list[str]:
        """Their names; values are never given back."""
        query = {"namespace": namespace}
        found = self._json("GET", "/system/secrets", list[dict[str, str]], params=query)
        return [each["name"] for each in found]

    def climb(self, function: str, step: str, cache: str | None = None) -> None:
        """Returns when `function` stands at exactly `step`; `cache` is `warm`, `cold` or None."""
        self._move("climb", function, step, cache)

    def descend(self, function: str, step: str, cache: str | None = None) -> None:
        """As `climb`, downwards."""
        self._move("descend", function, step, cache)

    def _move(self, direction: str, function: str, step: str, cache: str | None) -> None:
        params = {"step": step} if cache is None else {"step": step, "cache": cache}
        self._send("POST", f"/system/functions/{parse_function_id(function)}/{direction}", params=params)

    def logs(
        self,
        function: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: str | float | None = None,
        grep: str | None = None,
        stream: str | None = None,
        instance: int | None = None,
    ) -> Iterator[LogLine]:
        """Lines in order; with `follow` it ends only when the server does. `since` is in epoch seconds, or
        text: `10m` ago, or RFC 3339. `grep` is a text that lines must have in them."""
        wishes = {"tail": tail, "since": since, "grep": grep, "stream": stream, "instance": instance}
        params: dict[str, Any] = {"name": parse_function_id(function), "follow": int(follow)}
        params |= {name: value for name, value in wishes.items() if value is not None}
        with self._errors(), self._http().stream("GET", "/system/logs", params=params) as response:
            if response.status_code >= 400:
                response.read()
                _raise_error(response)
            for line in response.iter_lines():
                if line:
                    yield _log_line(line)

    def traces(self, function: str | None = None, limit: int = 20) -> list[RequestTrace]:
        """The newest last."""
        params: dict[str, Any] = {"limit": limit}
        if function is not None:
            params["function"] = parse_function_id(function)
        return self._json("GET", "/system/traces", list[RequestTrace], params=params)

    def trace(self, request: int) -> RequestTrace:
        return self._json("GET", f"/system/traces/{request}", RequestTrace)

    def load(self) -> Load:
        """What every function has to do at this moment, and what was answered for it so far."""
        return self._json("GET", "/system/load", Load)

    def devices(self) -> list[DeviceStatus]:
        """What lies on each of the server's devices, and waits there."""
        return self._json("GET", "/system/devices", list[DeviceStatus])

    def disturb(self, device: DeviceId, fault: Fault) -> None:
        """Breaks a device or makes it whole again. Returns when that has happened."""
        self._send("POST", "/system/devices", json=msgspec.to_builtins({"device": device, "fault": fault}))

    def explain(self, request: int) -> Explanation:
        """Why a request went where it went."""
        return self._json("GET", f"/system/explain/{request}", Explanation)

    def info(self) -> dict[str, Any]:
        return self._json("GET", "/system/info", dict[str, Any])

    def _json(self, method: str, path: str, into: type[T], **options: Any) -> T:
        return msgspec.json.decode(self._send(method, path, **options).content, type=into, strict=False)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        with self._errors():
            response = self._http().request(method, path, **options)
            if response.status_code >= 400:
                _raise_error(response)
            return response

    def _http(self) -> httpx.Client:
        if self._client is None:
            import httpx

            headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
            timeout = httpx.Timeout(None, connect=_CONNECT_S)
            # Reading the certificates takes 100 ms, which plain HTTP need not pay.
            verify = self.url.startswith("https:")
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT_CONNECTIONS)
            self._client = httpx.Client(
                base_url=self.url, headers=headers, timeout=timeout, verify=verify, limits=limits
            )
        return self._client

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise Unavailable(
                f"nothing answers at {self.url}: start a server with `glowplug serve app.py`, "
                "or say where one is with GLOWPLUG_URL"
            ) from None
        except httpx.TransportError as error:
            raise ConnectionLost(f"the connection to {self.url} was lost: {error}") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise Unavailable(f"{self.url!r} is not the URL of a server: {error}") from error


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


class ConnectionLost(Unavailable):
    """The connection broke while an answer was awaited: what was asked for may have been done."""


class _ErrorFacts(msgspec.Struct):
    code: str
    message: str
    field: str | None = None


def _raise_error(response: httpx.Response) -> None:
    """Rebuilds the error of an answer, or one that quotes what came when it was not one of ours."""
    try:
        facts = msgspec.json.decode(response.content, type=dict[str, _ErrorFacts])["error"]
    except (msgspec.MsgspecError, KeyError):
        raise GlowplugError(f"the server answered {response.status_code}: {response.text[:300]}") from None
    retry = response.headers.get("retry-after", "")
    error = from_code(facts.code, facts.message, float(retry) if retry.isdecimal() else None)
    if isinstance(error, InvalidArguments):
        error.field = facts.field
    raise error


def _log_line(line: str) -> LogLine:
    found = msgspec.json.decode(line)
    function = f"{found['name']}.{found['namespace']}"
    return LogLine(found["at_s"], function, int(found["instance"]), found["stream"], found["text"])
