"""A post that receives, opens, wraps and sends in threads of its own, while the worker computes."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from glowplug.distributed.channels.base import NOTES, MessageKey
from glowplug.distributed.notes import Outgoing
from glowplug.distributed.phases import Phases
from glowplug.distributed.post import Open, Parcel, Wire, what_is_missing
from glowplug.distributed.timing import LOOK_S

_MOST_JOBS = 4
_NOTES_LOOK_S = 0.1
Job = Callable[[], Outgoing]


class BackgroundPost:
    """A thread receives and another sends, as channels allow; one lock guards all that they share. What
    goes wrong in either is raised by the next call. Phases `encode`, `send` and `decode behind` are those
    threads'."""

    def __init__(self, wire: Wire, open_payload: Open, phases: Phases) -> None:
        self._wire, self._open, self._phases = wire, open_payload, phases
        self._exchange, self._timing = wire.exchange, wire.timing
        self._changed = threading.Condition()
        self._opened: dict[tuple[int, int], Any] = {}
        self._jobs: deque[Job] = deque([wire.greeting])
        self._sending = False
        self._answers: Outgoing = []
        self._came = self._fence = 0
        self._stalled = False
        self._due = 0 if wire.looks_are_calls else sys.maxsize
        self._closing = False
        self._error: BaseException | None = None
        self._behind = [Phases(), Phases()]
        self._threads = [
            threading.Thread(target=self._guarded, args=(work, behind), daemon=True)
            for work, behind in zip((self._send_all, self._receive_all), self._behind, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def send(self, step: int, parcels: Sequence[Parcel]) -> None:
        """Blocks while several earlier ones are not sent."""

        def job() -> Outgoing:
            with self._behind[0].of("encode behind"):
                payloads = [(target, *wrap()) for target, wrap in parcels]
            with self._changed:
                self._due = max(self._due, step)
                return [message for each in payloads for message in self._exchange.send(step, *each)]

        with self._phases.of("send"), self._changed:
            self._wait(lambda: len(self._jobs) < _MOST_JOBS, lambda: "the channel does not take what is sent")
            self._jobs.append(job)
            self._changed.notify_all()

    def wait(self, step: int) -> dict[int, Any]:
        with self._phases.of("wait"), self._changed:
            self._due = max(self._due, step)
            self._changed.notify_all()
            self._wait(lambda: self._is_open(step), lambda: what_is_missing(self._exchange, step), step)
            sources = self._exchange.take(step)
            self._changed.notify_all()
            return {source: self._opened.pop((step, source)) for source in sources}

    def wait_until(self, targets: Iterable[int], step: int, most_stalls: int | None = None) -> None:
        waiting = list(targets)
        with self._phases.of("room"), self._changed:
            self._stalled = True
            self._changed.notify_all()
            self._wait(
                lambda: (
                    all(self._exchange.reached(target) >= step for target in waiting)
                    or self._timing.stalls == most_stalls
                ),
                lambda: what_is_missing(self._exchange, None),
            )

    def done(self, step: int) -> None:
        with self._changed:
            self._answers += self._wire.farewell(step)
            self._fence = step
            self._changed.notify_all()

    def settle(self, step: int) -> None:
        with self._changed:
            self._wait(
                lambda: not (self._jobs or self._answers or self._sending),
                lambda: "the channel does not take what is sent",
            )
        self._wire.flush()

    def flush(self) -> None:
        self.settle(0)
        with self._changed:
            for behind in self._behind:
                self._phases.add(behind)

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _wait(self, is_over: Callable[[], bool], what: Callable[[], str], step: int | None = None) -> None:
        """With the lock held. While `step` is waited for, what it misses is asked for again."""
        self._timing.begin(for_step=step is not None)
        came = self._came
        while not is_over():
            if self._error is not None:
                raise self._error
            self._timing.check(what)
            if self._came > came:
                came = self._came
                self._timing.heard()
            elif self._timing.is_stalled() and step is not None:
                self._stalled = True
                self._answers += self._exchange.ask_again(step)
                self._changed.notify_all()
            self._changed.wait(self._timing.look_s() or LOOK_S)
        self._timing.end()
        if self._error is not None:
            raise self._error

    def _is_open(self, step: int) -> bool:
        return not self._exchange.missing(step) and all(
            (step, source) in self._opened for source in self._exchange.present(step)
        )

    def _guarded(self, work: Callable[[Phases], None], behind: Phases) -> None:
        try:
            work(behind)
        except BaseException as error:
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()

    def _send_all(self, behind: Phases) -> None:
        while True:
            with self._changed:
                self._sending = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closing or self._jobs or self._answers)
                if self._closing:
                    return
                self._sending = True
                messages, self._answers = self._answers, []
                job = self._jobs.popleft() if self._jobs else None
            if job is not None:
                messages = [*messages, *job()]
            with behind.of("send behind"):
                self._wire.send(messages)

    def _receive_all(self, behind: Phases) -> None:
        fenced = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._wanted())
                if self._closing:
                    return
                step, wanted, fence = self._exchange.coming(), self._wanted(), self._fence
            if fence > fenced:
                self._wire.fence(fence)
                fenced = fence
            look_s = _NOTES_LOOK_S if step is None else self._timing.longest_look_s
            self._take_in(self._wire.receive(wanted, look_s), step, behind)

    def _wanted(self) -> set[MessageKey]:
        """Where looks are calls, what others send is looked for when this worker has sent its own for that
        step: workers of a layer are about as fast."""
        step = self._exchange.coming()
        due = None if step is None or step > self._due else step
        return self._wire.wanted(due, is_quiet=self._stalled, is_stalled=self._stalled)

    def _take_in(self, came: dict[MessageKey, bytes], step: int | None, behind: Phases) -> None:
        with self._changed:
            self._answers += self._exchange.deliver(came)
            rejected = self._exchange.take_rejected()
            steps = {key.layer for key in came if key.layer < NOTES}
            if step is not None:
                self._answers += self._wire.overdue(step, is_quiet=self._stalled)
                steps.add(step)
            present = {
                (each, source): payload
                for each in steps
                for source, payload in self._exchange.present(each).items()
                if (each, source) not in self._opened
            }
            heard = any(step is None or key.layer == step for key in came)
            self._stalled &= not heard or step is None
            self._came += heard
        self._wire.reject(rejected)
        with behind.of("decode behind"):
            opened = {
                (each, source): self._open(each, source, payload)
                for (each, source), payload in present.items()
            }
        with self._changed:
            self._opened.update(opened)
            self._changed.notify_all()
