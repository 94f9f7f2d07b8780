"""Who may ask: with a token set, whoever has it; without one, programs of this machine, but no web page."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit

from glowplug.core.errors import Unauthorized
from glowplug.core.settings import GatewaySettings

OPEN_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/docs"})
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_OF_PROXIES = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"})
Address = tuple[str, int | None]


class Access:
    """Without a token, a page in a browser must not reach the server of this machine, neither by a request
    across origins (its Origin is another's) nor by a name that resolves here (its Host is no local one). Nor
    may whoever reaches a proxy on this machine: requests that say they came through one are refused."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._expected = None if settings.token is None else f"Bearer {settings.token}".encode()
        self._hosts = _LOCAL | {settings.host}
        self.gateways_at: Address | None = None
        """Where other gateways of this server forward to: they name their clients as a proxy does."""

    def check(self, path: str, headers: Iterable[tuple[bytes, bytes]], at: Address | None) -> None:
        """Of a request that came to the address `at`. Raises Unauthorized."""
        if path in OPEN_PATHS:
            return
        given = origin = host = proxied = b""
        for name, value in headers:
            if name == b"authorization":
                given = value
            elif name == b"origin":
                origin = value
            elif name == b"host":
                host = value
            elif name in _OF_PROXIES:
                proxied = name
        if self._expected is not None:
            if not hmac.compare_digest(given, self._expected):
                raise Unauthorized("this server wants a token: set GLOWPLUG_TOKEN, or send a Bearer token")
            return
        if proxied and (at is None or at != self.gateways_at):
            raise Unauthorized(
                f"this request came through a proxy (its header {proxied.decode()} says so): "
                "set a token with --token or GLOWPLUG_TOKEN to allow that"
            )
        if origin and _netloc(origin) != host:
            raise Unauthorized("a page of another origin may not call a server that has no token")
        if host and not self._is_local(host.decode("latin-1")):
            raise Unauthorized("the Host header names another machine: set a token to allow that")

    def _is_local(self, host: str) -> bool:
        try:
            return urlsplit(f"//{host}").hostname in self._hosts
        except ValueError:
            return False


def _netloc(origin: bytes) -> bytes | None:
    """None for one that is no URL."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
