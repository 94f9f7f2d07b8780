"""What `serve` shows as its defaults is what the settings have."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from glowplug.cli.serve import serve
from glowplug.core.settings import CallSettings, GatewaySettings, NodeSettings
from glowplug.core.units import parse_bytes, parse_seconds

NODE, GATEWAY, CALLS = NodeSettings("", ""), GatewaySettings(), CallSettings()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("host", GATEWAY.host),
        ("port", GATEWAY.port),
        ("memory", NODE.budget_bytes),
        ("environments", NODE.environments_bytes),
        ("results_kept", CALLS.results_kept_s),
        ("give_way", NODE.gives_way),
        ("strict", NODE.strict),
        ("threads", NODE.threads),
        ("callbacks", CALLS.callbacks),
    ],
)
def test_a_default_is_that_of_the_settings(option: str, value: Any) -> None:
    shown = inspect.signature(serve).parameters[option].default
    if option in ("memory", "environments"):
        shown = parse_bytes(shown, option)
    elif option == "results_kept":
        shown = parse_seconds(shown, option)
    assert shown == value
