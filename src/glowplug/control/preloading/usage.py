"""How much of what is loaded ahead at a node is used. This says how far predictions are believed there."""

from __future__ import annotations

import msgspec

_SMOOTHING = 0.02
_FADING = 0.95
_USED_AT_FIRST = 1.0
_LEAST_USED = 0.25
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 600.0, 3600.0
_LONGER = 4.0


class Usage(msgspec.Struct):
    """`share` is of the last fifty or so pre-loads that ended, used or in vain. `used` and `wasted` count the
    last twenty, older ones less: they tell soon when hardly any is used. The last began at `tried_s`."""

    share: float = 1.0
    used: float = _USED_AT_FIRST
    wasted: float = 0.0
    tried_s: float = 0.0
    pause_s: float = _FIRST_PAUSE_S

    def begin(self, now_s: float) -> None:
        """A pre-load begins. If nearly all before it were in vain it is a trial, and the pause before the
        next trial gets longer."""
        if self._lately() < _LEAST_USED and not self._pauses(now_s):
            self.pause_s = min(_LONGEST_PAUSE_S, _LONGER * self.pause_s)
        self.tried_s = now_s

    def end(self, used: bool) -> None:
        self.share += _SMOOTHING * (used - self.share)
        self.used = _FADING * self.used + used
        self.wasted = _FADING * self.wasted + (not used)
        if used:
            self.pause_s = _FIRST_PAUSE_S

    def take_back(self) -> None:
        """One that was counted as used answered nobody. What has ended since then counts a little more for
        that."""
        self.share = max(0.0, (self.share - _SMOOTHING) / (1.0 - _SMOOTHING))
        self.used = max(0.0, (self.used - 1.0) / _FADING)
        self.wasted /= _FADING

    def believed(self, now_s: float) -> float:
        """The share of use that is assumed for the next pre-load. If hardly any are used, none is worth
        its price, except for a trial once in a while: without trials nothing could show that things have
        changed."""
        lately = self._lately()
        if lately < _LEAST_USED and self._pauses(now_s):
            return lately**2 / _LEAST_USED
        return max(_LEAST_USED, self.share)

    def _lately(self) -> float:
        return self.used / (self.used + self.wasted)

    def _pauses(self, now_s: float) -> bool:
        return 0.0 <= now_s - self.tried_s < self.pause_s
