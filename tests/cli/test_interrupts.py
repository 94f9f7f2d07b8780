"""What ends a command as Ctrl-C does."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from glowplug.cli.interrupts import signals_interrupt


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """The process's, before and after."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_ends_it_wants_nothing_left(number: signal.Signals) -> None:
    signals_interrupt()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


def test_a_terminal_that_is_told_lost_twice_interrupts_once() -> None:
    signals_interrupt()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGHUP)


def test_under_nohup_the_terminal_s_end_is_nothing() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals_interrupt()
    signal.raise_signal(signal.SIGHUP)
