"""One server over HTTP: the connections to it, and its errors as ours."""

from __future__ import annotations

import ipaddress
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from glowplug.core.errors import (
    UNREADABLE,
    GlowplugError,
    InvalidArguments,
    Unavailable,
    UserError,
    from_code,
)

if TYPE_CHECKING:
    import httpx

DEFAULT_URL = "http://localhost:8000"
_CONNECT_S = 5.0
_KEPT_CONNECTIONS = 64
T = TypeVar("T")


class NotReached(Unavailable):
    """Nobody said this: there is no server, or none just now."""

    of_a_call = True


class ConnectionLost(NotReached):
    """The connection broke while an answer was awaited: what was asked for may have been done."""


class _ErrorFacts(msgspec.Struct):
    code: str
    message: str
    field: str | None = None


class ForeignAnswer(UserError):
    """What answers at the URL is no server of ours."""

    of_a_call = True

    def __init__(self, url: httpx.URL | str, what: str) -> None:
        super().__init__(
            f"{url} did not answer as a Glowplug server does ({what}): see GLOWPLUG_URL or --url"
        )


def check_done(response: httpx.Response) -> None:
    """Raises the error of an answer that says that nothing was done. Reads all of that one."""
    if not 200 <= response.status_code <= 299:
        response.read()
        _raise_error(response)


def _raise_error(response: httpx.Response) -> None:
    """Rebuilds the error of an answer, or one that quotes what came when it was not one of ours."""
    if response.status_code < 400:
        where = response.headers.get("location", "nowhere")
        raise ForeignAnswer(response.url, f"{response.status_code}, which leads to {where[:300]}")
    try:
        facts = msgspec.json.decode(response.content, type=dict[str, _ErrorFacts])["error"]
    except (msgspec.MsgspecError, KeyError):
        raise GlowplugError(f"the server answered {response.status_code}: {response.text[:300]}") from None
    retry = response.headers.get("retry-after", "")
    error = from_code(facts.code, facts.message, float(retry) if retry.isdecimal() else None)
    if isinstance(error, InvalidArguments):
        error.field = facts.field
    raise error


def is_token(text: str) -> bool:
    """Whether a header can carry it."""
    return text.isascii() and text.isprintable()


def _is_this_machine(host: str) -> bool:
    """Where no proxy of the environment knows the way."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


class Connection:
    """Close it, or use it in a `with`; several threads may use one."""

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        self.url = (url or os.environ.get("GLOWPLUG_URL") or DEFAULT_URL).rstrip("/")
        self._token = token if token is not None else os.environ.get("GLOWPLUG_TOKEN")
        self._client: httpx.Client | None = None
        self._opening = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _json(self, method: str, path: str, into: type[T], **options: Any) -> T:
        response = self._send(method, path, **options)
        try:
            return msgspec.json.decode(response.content, type=into, strict=False)
        except UNREADABLE:
            raise ForeignAnswer(response.url, f"it sent {response.text[:100]!r}") from None

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        with self._errors():
            response = self._http().request(method, path, **options)
            check_done(response)
            return response

    def _http(self) -> httpx.Client:
        with self._opening:
            if self._client is None:
                self._client = self._opened()
            return self._client

    def _opened(self) -> httpx.Client:
        import httpx

        if self._token and not is_token(self._token):
            raise UserError("the token, perhaps of GLOWPLUG_TOKEN, cannot be sent: it is not printable ASCII")
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        return httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=httpx.Timeout(None, connect=_CONNECT_S),
            # Reading the certificates takes 100 ms, which plain HTTP need not pay.
            verify=self.url.startswith("https:"),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT_CONNECTIONS),
            trust_env=not _is_this_machine(httpx.URL(self.url).host),
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise NotReached(
                f"nothing answers at {self.url}: start a server with `glowplug serve app.py`, "
                "or say where one is with GLOWPLUG_URL"
            ) from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise UserError(
                f"{self.url!r} is not the URL of a server, as {DEFAULT_URL} would be: {error}"
            ) from error
        except UnicodeEncodeError as error:
            raise UserError(f"{error.object[:80]!r} cannot be sent in a header: use ASCII") from None
        except httpx.LocalProtocolError as error:
            raise UserError(f"this cannot be sent: {error}") from error
        except httpx.TransportError as error:
            raise ConnectionLost(f"the connection to {self.url} was lost: {error}") from error
