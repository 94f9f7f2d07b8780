"""Calls in threads, interrupted at moments that nobody chose."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from glowplug.core.errors import RequestCancelled
from glowplug.node.thread_calls import ThreadCall

WAIT_S = 180.0


def test_a_call_is_interrupted_and_its_thread_goes_on() -> None:
    entered = threading.Event()

    def spin() -> None:
        entered.set()
        while True:
            pass

    with ThreadPoolExecutor(1) as pool:
        call = ThreadCall()
        running = pool.submit(call.run, spin)
        assert entered.wait(WAIT_S)
        call.interrupt()
        with pytest.raises(RequestCancelled):
            running.result(WAIT_S)
        assert pool.submit(ThreadCall().run, lambda: 5).result(WAIT_S) == 5


def test_a_call_that_was_interrupted_before_it_began_does_not_begin() -> None:
    called = []
    call = ThreadCall()
    call.interrupt()
    with pytest.raises(RequestCancelled):
        call.run(called.append, 1)
    assert not called
    ThreadCall().run(called.append, 2)
    assert called == [2]


def test_an_interruption_hits_its_call_or_nobody() -> None:
    """Short calls, each interrupted about when it ends: either is seen, and nothing of it in the next."""
    with ThreadPoolExecutor(1) as pool:
        for number in range(2000):
            call = ThreadCall()
            running = pool.submit(call.run, sum, range(number % 60))
            call.interrupt()
            try:
                assert running.result(WAIT_S) == sum(range(number % 60))
            except RequestCancelled:
                pass
            assert pool.submit(ThreadCall().run, lambda: "next").result(WAIT_S) == "next"


def test_what_no_future_takes_is_another_error() -> None:
    def stop() -> None:
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        ThreadCall().run(stop)
