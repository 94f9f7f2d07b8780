"""Requests of the admin interface, as they come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from glowplug.core.errors import RequestCancelled
from glowplug.gateway.platform import SecretName
from glowplug.gateway.queries import read_body


def test_a_client_that_leaves_in_the_middle_is_no_mistake_of_ours() -> None:
    news: list[Any] = [
        {"type": "http.request", "body": b'{"na', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return news.pop(0)

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    with pytest.raises(RequestCancelled, match="left before"):
        asyncio.run(read_body(request, SecretName))
