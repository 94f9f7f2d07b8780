"""The only caller of `ControlState.handle`, and the only place of the controller that does I/O."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from glowplug.control.engine import Engine, GatewayPort
from glowplug.control.journal_files import JournalWriter
from glowplug.control.state import ControlState
from glowplug.core.commands import (
    ClearTimer,
    Command,
    Dispatch,
    Lease,
    Reject,
    Revoke,
    SetTimer,
)
from glowplug.core.events import Event, TimerFired
from glowplug.core.ids import GatewayId

_log = logging.getLogger(__name__)
_FLUSH_EVERY_S = 0.05


class Driver:
    """Feeds events to the state, one after another, and sends each command where it belongs.

    `clock` gives seconds that never run backwards. `post` may be called from anywhere in the loop's
    thread, also from inside an engine's or a gateway's reaction to a command: such events wait their turn.

    An exception from `handle` means that the state can no longer be trusted. It is logged with the event,
    the journal is flushed (its last entry is that event), `on_fatal` is called once, and every later
    event is dropped.
    """

    def __init__(
        self,
        state: ControlState,
        engine: Engine,
        journal: JournalWriter | None,
        clock: Callable[[], float],
        on_fatal: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.state = state
        self._engine = engine
        self._journal = journal
        self._clock = clock
        self._on_fatal = on_fatal
        self._events: deque[Event] = deque()
        self._gateways: dict[GatewayId, GatewayPort] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flush: asyncio.TimerHandle | None = None
        self._draining = False
        self._stopped = False

    def start(self) -> None:
        """Begins the journal and connects the engine. Called in the event loop, once, before any `post`."""
        self._loop = asyncio.get_running_loop()
        self._write(lambda journal: journal.begin(self.state.snapshot()))
        self._engine.connect(self.post)

    def register_gateway(self, gateway: GatewayId, port: GatewayPort) -> None:
        self._gateways[gateway] = port

    def post(self, event: Event) -> None:
        """Handles the event, at once unless one is being handled, and carries its commands out."""
        self._events.append(event)
        if self._draining:
            return
        self._draining = True
        try:
            while self._events and not self._stopped:
                self._handle(self._events.popleft())
        finally:
            self._draining = False

    def _handle(self, event: Event) -> None:
        now_s = self._clock()
        try:
            commands = self.state.handle(event, now_s)
        except Exception as error:
            self._fail(event, now_s, error)
            return
        if self._journal is not None:
            try:
                self._journal.append(now_s, event, commands)
            except Exception as error:
                self._give_up_journal(error)
            self._flush_soon()
        for command in commands:
            try:
                self._carry_out(command, now_s)
            except Exception:
                # The engine and the gateways promise not to raise: the command's own timer will notice.
                _log.exception("command failed on its way out: %r", command)

    def _carry_out(self, command: Command, now_s: float) -> None:
        if isinstance(command, SetTimer):
            self._set_timer(command.key, command.at_s - now_s)
        elif isinstance(command, ClearTimer):
            handle = self._timers.pop(command.key, None)
            if handle is not None:
                handle.cancel()
        elif isinstance(command, (Dispatch, Lease, Revoke, Reject)):
            port = self._gateways.get(command.gateway)
            if port is None:
                _log.warning("no gateway %s for %r", command.gateway, command)
            else:
                port.on_command(command)
        else:
            self._engine.submit(command)

    def _set_timer(self, key: str, delay_s: float) -> None:
        assert self._loop is not None, "the driver is not started"
        before = self._timers.pop(key, None)
        if before is not None:
            before.cancel()
        self._timers[key] = self._loop.call_later(max(0.0, delay_s), self._fire, key)

    def _fire(self, key: str) -> None:
        del self._timers[key]
        at_s = self.state.context.store.timers.get(key)
        early_s = 0.0 if at_s is None else at_s - self._clock()
        if early_s > 0:
            # The loop's clock and ours need not be the same.
            self._set_timer(key, early_s)
        else:
            self.post(TimerFired(key=key))

    def _flush_soon(self) -> None:
        if self._flush is None and self._loop is not None:
            self._flush = self._loop.call_later(_FLUSH_EVERY_S, self.flush)

    def flush(self) -> None:
        """Writes the journal now. What fails there costs the journal, not the service."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        self._write(lambda journal: journal.flush(self.state.snapshot))

    def _write(self, write: Callable[[JournalWriter], None]) -> None:
        if self._journal is None:
            return
        try:
            write(self._journal)
        except Exception as error:  # also what cannot be encoded, such as a number without end
            self._give_up_journal(error)

    def _give_up_journal(self, error: Exception) -> None:
        _log.error("the journal cannot be written and is given up: %s", error)
        if self._journal is not None:
            self._journal.abandon()
            self._journal = None

    def _fail(self, event: Event, now_s: float, error: Exception) -> None:
        _log.critical("the controller failed on %r", event, exc_info=error)
        self._stopped = True
        self._write(lambda journal: journal.append(now_s, event, []))
        # Not self.flush: a state that failed must not become the snapshot of a new segment.
        self._close_journal()
        self._cancel_timers()
        if self._on_fatal is not None:
            self._on_fatal(error)

    def _cancel_timers(self) -> None:
        for handle in self._timers.values():
            handle.cancel()
        self._timers.clear()
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None

    async def close(self) -> None:
        """Stops handling events, ends the engine, closes the journal. Again is not an error."""
        self._stopped = True
        self._cancel_timers()
        await self._engine.close()
        self._close_journal()

    def _close_journal(self) -> None:
        self._write(lambda journal: journal.close())
        self._journal = None
