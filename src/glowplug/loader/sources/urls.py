"""URLs as an HTTP client uses them, and as messages may show them."""

from __future__ import annotations

import base64
from typing import NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit

from glowplug.loader.errors import SourceRefused

_PORTS = {"http": 80, "https": 443}
_SAFE = "/%:@!$&'()*+,;=~"


class Location(NamedTuple):
    """`host` and `port` to connect to, `target` to ask for. `name` has neither user, password nor query."""

    secure: bool
    host: str
    port: int
    target: str
    name: str
    authorization: str | None
    url: str

    @property
    def origin(self) -> tuple[bool, str, int]:
        return self.secure, self.host, self.port

    def moved(self, to: str | None) -> Location:
        """Where a redirect leads. Raises SourceRefused where one should not go."""
        try:
            there = locate(urljoin(self.url, to or ""))
        except ValueError as error:
            raise SourceRefused(f"{self.name} redirects to no HTTP address: {error}") from error
        if self.secure and not there.secure:
            raise SourceRefused(
                f"{self.name} redirects to plain HTTP, which is not followed; open {there.name} if you like"
            )
        return there


def locate(url: str) -> Location:
    """Raises ValueError for what is no http:// or https:// URL, or names no host that there could be."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"{parts.scheme or 'this'} is no http:// or https:// URL with a host")
    try:
        parts.hostname.encode("idna")  # as sockets do, which raise what is no OSError
    except UnicodeError as error:
        raise ValueError(f"{parts.hostname} is no name of a host") from error
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = quote(parts.path or "/", safe=_SAFE)
    shown = host if parts.port is None else f"{host}:{parts.port}"
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return Location(
        secure=parts.scheme == "https",
        host=parts.hostname,
        port=parts.port or _PORTS[parts.scheme],
        target=f"{path}?{quote(parts.query, safe=_SAFE + '?')}" if parts.query else path,
        name=f"{parts.scheme}://{shown}{path}" + ("?..." if parts.query else ""),
        authorization=authorization,
        url=url,
    )
