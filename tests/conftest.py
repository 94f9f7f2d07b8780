"""For all tests: which of them may run beside each other, and which need what is not installed."""

from __future__ import annotations

import signal
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.depth import DEPTH, examples

settings.register_profile(
    "busy",
    max_examples=examples(100),
    deadline=None,
    derandomize=DEPTH == 1,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("busy")
"""How long an example takes says something about the machine, not about the code. `make test` draws the same
each time, so that a change is judged by what it changes; `make fuzz` draws anew."""

_LONGEST = "tests/e2e/"
_SHARED = {
    "tests/e2e/test_commands.py": "commands",
    _LONGEST: "e2e",
    "tests/distributed/channels/test_nats.py": "nats",
    "tests/distributed/channels/test_object.py": "object",
    "tests/distributed/channels/test_queue.py": "queue",
}
"""Tests that share a server, which starts once for all of them, and those that start a whole one each: one
after another. The first that fits; commands have nothing to do with the others' servers."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadgroup`, tests that share a server run one after another.

    pytest-xdist 3.8 finds no group of a test any more under pytest 9.2, whose node ids it cannot change.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Grouped(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((name for path, name in _SHARED.items() if nodeid.startswith(path)), nodeid)

    return Grouped(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """A shell starts what is to run in the background with interrupts ignored, and whoever is started by it
    ignores them as well. Tests interrupt processes that they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest of all groups begins first: the others have ended when it does. Tests marked `torch` are
    skipped, and counted, where the extra is not installed."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST))
    if find_spec("torch") is not None:
        return
    skip = pytest.mark.skip(reason="needs the torch extra: pip install 'glowplug[torch]'")
    for item in items:
        if item.get_closest_marker("torch") is not None:
            item.add_marker(skip)
