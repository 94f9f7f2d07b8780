"""Where a URL's content is had today: requests that follow redirects, and remember where they led."""

from __future__ import annotations

import http.client
from collections.abc import Mapping

from glowplug.loader.errors import SourceRefused
from glowplug.loader.sources.connections import Answer, Connections
from glowplug.loader.sources.limit import Limit
from glowplug.loader.sources.urls import Location

_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_REFUSALS = (400, 401, 403, 404, 410)
"""Of an address whose signature has expired, or that has moved on."""


class Route:
    """`headers` go to the first location's own server, and to no other that it redirects to."""

    def __init__(self, first: Location, headers: Mapping[str, str], connections: Connections) -> None:
        self.first = first
        self._headers = dict(headers)
        if first.authorization is not None:
            self._headers.setdefault("Authorization", first.authorization)
        self._connections = connections
        self._last = first

    def ask(self, fields: Mapping[str, str], limit: Limit, what: str) -> Answer:
        """An answer that is no redirect. Raises SourceError."""
        location = self._last
        # Where a redirect leads is often signed for some minutes; after that the first may lead elsewhere.
        may_ask_again = location is not self.first
        for _ in range(_MOST_REDIRECTS + 1):
            own = self._headers if location.origin == self.first.origin else {}
            try:
                answer = self._connections.get(location, {**own, **fields}, limit)
            except (OSError, http.client.HTTPException) as error:
                self._last = self.first  # which may lead elsewhere, when it is tried again
                raise limit.failure(what, error) from error
            moved = answer.status in _REDIRECTS
            if not moved and not (answer.status in _REFUSALS and may_ask_again):
                self._last = location if answer.status < 500 else self.first
                return answer
            with answer:
                location = location.moved(answer.header("Location")) if moved else self.first
                may_ask_again = may_ask_again and moved
        raise SourceRefused(f"{what}: more than {_MOST_REDIRECTS} redirects; check the URL")
