"""When a function is to be loaded, by the timers of InstaInfer and Tyche: from the time by which it comes
with 6 percent probability until that of 94, counted from its last call, if calls are Poisson at its recent
rate."""

from __future__ import annotations

from heapq import heappop, heappush
from math import expm1, inf, log

import msgspec

from glowplug.core.ids import FunctionId
from glowplug.policy.preload import PreloadView

_FROM, _UNTIL = 0.06, 0.94


class Window(msgspec.Struct):
    """`turn` tells timers of an earlier call from those of the last."""

    turn: int
    until_s: float
    rate_per_s: float
    is_open: bool = False


class Windows(msgspec.Struct):
    """All functions' windows; `opened` are those that are open now, in the order they opened, `closed` those
    of which something that was loaded may be left."""

    timers: list[tuple[float, FunctionId, int]] = []
    windows: dict[FunctionId, Window] = {}
    opened: dict[FunctionId, None] = {}
    closed: dict[FunctionId, None] = {}

    def arrived(self, view: PreloadView, function: FunctionId, now_s: float) -> None:
        before = self.windows.get(function)
        turn = 1 if before is None else before.turn + 1
        self.opened.pop(function, None)
        self.closed.pop(function, None)
        rate = view.rate_per_s(function)
        if rate <= 0.0:
            self.windows[function] = Window(turn, inf, 0.0)
            return
        window = Window(turn, now_s - log(1 - _UNTIL) / rate, rate)
        self.windows[function] = window
        heappush(self.timers, (now_s - log(1 - _FROM) / rate, function, turn))
        heappush(self.timers, (window.until_s, function, turn))

    def next_s(self) -> float:
        while self.timers and self._is_void(self.timers[0]):
            heappop(self.timers)
        return self.timers[0][0] if self.timers else inf

    def turn_over(self, now_s: float) -> None:
        """Opens and closes what is due."""
        while self.next_s() <= now_s:
            _, function, _ = heappop(self.timers)
            window = self.windows[function]
            if window.is_open or now_s >= window.until_s:
                self.opened.pop(function, None)
                self.closed[function] = None
            else:
                window.is_open = True
                self.opened[function] = None

    def value(self, view: PreloadView, function: FunctionId, now_s: float) -> float:
        """P(arrival in what is left of its window) x the seconds of loading that it would be spared."""
        window = self.windows[function]
        left_s = max(0.0, window.until_s - now_s)
        return -expm1(-window.rate_per_s * left_s) * view.load_s(function)

    def spares(self, view: PreloadView, function: FunctionId, now_s: float) -> float:
        """Seconds of loading a second until its window closes; nothing after that, and of one of which
        nothing is known."""
        window = self.windows.get(function)
        if window is None or now_s >= window.until_s:
            return 0.0
        return window.rate_per_s * view.load_s(function)

    def forget(self, function: FunctionId) -> None:
        self.windows.pop(function, None)
        self.opened.pop(function, None)
        self.closed.pop(function, None)

    def _is_void(self, timer: tuple[float, FunctionId, int]) -> bool:
        window = self.windows.get(timer[1])
        return window is None or window.turn != timer[2]
