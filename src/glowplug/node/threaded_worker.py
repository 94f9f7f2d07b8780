"""A worker that answers several requests at once, each in a thread."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from time import monotonic

from glowplug.core.batches import columns
from glowplug.node import wire
from glowplug.node.answers import HOLD_S, Answers
from glowplug.node.call_thread import CallThread
from glowplug.node.gathering import Gathering
from glowplug.node.interrupts import Interrupted
from glowplug.node.lead import Lead
from glowplug.node.messages import CancelRequest
from glowplug.node.parallel import keep_threads
from glowplug.node.routes import Route, Routes
from glowplug.node.serial_worker import IDLE_S
from glowplug.node.thread_answers import ThreadAnswers
from glowplug.transport.worker_side import Incoming

ALONE_S = 50e-6
"""A call that takes less runs while nobody else reads: to wake another thread takes about as long."""


class ThreadedWorker:
    """Answers until the gateway is gone, or the door of several; `routes.concurrency` calls run at once, the
    rest wait in the endpoint, in order.

    The main thread runs no call. A cancelled call ends when its thread next runs Python code. `rest` is
    called by one of the threads, after calls that took long, when none has anything to do.
    """

    def __init__(
        self, answers: Answers, routes: Routes, control: socket.socket, rest: Callable[[], object]
    ) -> None:
        self._answers = answers
        self._endpoint = answers.endpoint
        self._routes = routes
        self._cancels = wire.Receiver(control, CancelRequest)
        self._lead = Lead(answers.endpoint, control, self._share_out, self._on_cancels)
        self._lock = self._lead.lock
        self._calls = ThreadAnswers(answers, self._lead)
        self._threads = 0
        self._idle: list[CallThread] = []
        """Who was last idle is called first: its memory is still in the caches."""
        self._called = 0
        """Threads that were woken or started, and have not come yet."""
        self._busy = 0
        self._running: dict[int, CallThread] = {}
        """By request."""
        self._gatherings: dict[Route, Gathering] = {}
        self._forming: dict[Route, tuple[CallThread, list[Incoming]]] = {}
        """Batches that still wait for members."""
        self._held_since_s = 0.0
        self._rest = rest
        self._may_rest = False

    def run(self) -> None:
        """What still runs when the gateway is gone ends with the process."""
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # the main thread sees the message that it announces
        self._lead.run()

    def _on_cancels(self) -> None:
        for found in self._cancels.waiting():
            if found is None:
                self._lead.end()
                return
            with self._lock:
                self._cancel(found[0].request)

    def _cancel(self, request: int) -> None:
        thread = self._running.get(request)
        if thread is not None and len(thread.requests) == 1:
            thread.stop(request)
            return
        if thread is not None:
            thread.requests.discard(request)
            del self._running[request]
        self._answers.refuse(request)

    def _share_out(self) -> None:
        """What was read goes to who waits for it; with the lock."""
        for route, (thread, members) in self._forming.items():
            members += self._endpoint.take_for(members[0].endpoint, route.spec.max_batch - len(members))
            thread.news.notify()
        self._calls.look_for_credit()
        wanted = min(self._endpoint.waiting, self._routes.concurrency - self._busy) - self._called
        for _ in range(wanted):
            if self._idle:
                self._idle.pop().news.notify()
            elif not self._start_thread():
                return
            self._called += 1

    def _start_thread(self) -> bool:
        if self._threads == self._routes.concurrency:
            return False
        name = f"glowplug-call_{self._threads}"
        try:
            threading.Thread(target=self._live, name=name, daemon=True).start()
        except RuntimeError:  # the function has as many as it may have
            if not self._threads:
                raise
            return False
        self._threads += 1
        return True

    def _live(self) -> None:
        """One thread's life. An error of ours, or of the connection, ends the worker."""
        try:
            keep_threads()
            thread = CallThread(self._lock)
            with self._lock:
                self._called -= 1
                found = self._next(thread)
            while found is not None:
                self._answer(thread, *found)
                found = None
                with self._lock:
                    self._leave(thread)
                    found = self._next(thread)
        except BaseException as error:
            self._lead.end(error)

    def _next(self, thread: CallThread) -> tuple[Route | None, list[Incoming]] | None:
        """What `thread` is to answer now, or None when the worker is at its end; with the lock.

        Whoever has the lead takes what it reads. While the main thread has it, who is free takes what waits.
        """
        lead, endpoint = self._lead, self._endpoint
        while not lead.is_over:
            if lead.holder is thread:
                endpoint.refresh()
            if lead.holder in (None, thread):
                incoming = endpoint.take()
                if incoming is not None:
                    return self._begin(thread, incoming)
                if lead.holder is None:
                    lead.take(thread)
                if not lead.wait(self._until_rest_s()):
                    self._rest_now()
            else:
                self._idle.append(thread)
                if thread.news.wait(self._until_rest_s()) or thread not in self._idle:
                    self._called -= 1
                else:
                    self._idle.remove(thread)
                    self._rest_now()
        return None

    def _until_rest_s(self) -> float | None:
        return IDLE_S if self._may_rest and not self._busy else None

    def _rest_now(self) -> None:
        self._may_rest = False
        self._lock.release()
        try:
            self._rest()
        finally:
            self._lock.acquire()

    def _begin(self, thread: CallThread, incoming: Incoming) -> tuple[Route | None, list[Incoming]]:
        lead, now_s = self._lead, monotonic()
        self._busy += 1
        try:
            route = self._routes.find(incoming.endpoint)
        except Exception as error:
            self._answers.deny(incoming.request, error)
            return None, []
        if route.in_batches:
            members = [incoming, *self._endpoint.take_for(incoming.endpoint, route.spec.max_batch - 1)]
            self._forming.setdefault(route, (thread, members))
        else:
            members = [incoming]
            self._enter(thread, {incoming.request})
            if route.expected_s <= ALONE_S:
                if lead.holder is None:
                    lead.take(thread)
                if lead.holder is thread:
                    lead.quick_call(now_s)
                    self._hold(now_s)
                return route, members
        if lead.holder is thread:
            lead.give_up()
        return route, members

    def _hold(self, now_s: float) -> None:
        """An answer that comes now may wait for the next one, unless there are some that have waited."""
        if self._endpoint.unsent and now_s - self._held_since_s > HOLD_S:
            self._endpoint.flush()
        if not self._endpoint.unsent:
            self._held_since_s = now_s

    def _enter(self, thread: CallThread, requests: set[int]) -> None:
        thread.requests = requests
        for request in requests:
            self._running[request] = thread

    def _leave(self, thread: CallThread) -> None:
        """`thread` has answered. Who has the lead writes answers together; with the lock."""
        self._busy -= 1
        for request in thread.requests:
            self._running.pop(request, None)
        stopped = thread.end()
        if stopped is not None:
            self._answers.let_go(stopped)
        self._answers.settled()
        if self._lead.holder is thread:
            self._lead.quick_call_over()
        else:
            self._may_rest = True
            self._endpoint.flush()
        if self._answers.is_spoiled:
            self._endpoint.flush()
            self._lead.end()

    def _answer(self, thread: CallThread, route: Route | None, members: list[Incoming]) -> None:
        if route is None:
            return
        if route.in_batches:
            self._gather(thread, route, members)
            self._answer_batch(thread, route, members)
        else:
            self._calls.one(thread, route, members.pop())

    def _gather(self, thread: CallThread, route: Route, members: list[Incoming]) -> None:
        """Returns when no more `members` are to be expected soon. None waits for company while requests for
        another endpoint do."""
        with self._lock:
            gathering = self._gathering(route)
            until_s = monotonic() + gathering.max_wait_s
            while len(members) < gathering.wanted:
                left_s = until_s - monotonic()
                if left_s <= 0 or (self._endpoint.waiting and self._busy == self._routes.concurrency):
                    break
                thread.news.wait(left_s)
            if route in self._forming and self._forming[route][0] is thread:
                del self._forming[route]

    def _gathering(self, route: Route) -> Gathering:
        if route not in self._gatherings:
            self._gatherings[route] = Gathering(route.spec.max_batch, route.spec.max_wait_s)
        return self._gatherings[route]

    def _answer_batch(self, thread: CallThread, route: Route, members: list[Incoming]) -> None:
        start_s = monotonic()
        valid, arguments = self._answers.admit(members, route.signature, start_s)
        if valid:
            with self._lock:  # some may have been cancelled since they were checked
                wanted = {m.request for m in valid if not self._answers.is_unwanted(m.request)}
                self._enter(thread, wanted)
            if wanted:
                self._calls.batch(thread, route, valid, columns(arguments), start_s)
            else:
                self._answers.fail_each(valid, Interrupted())
        with self._lock:
            together = len(members) + self._endpoint.waiting_for(members[0].endpoint)
            self._gathering(route).saw(together)
