"""When a batch is complete: pure, and the same for every kind of worker."""

from __future__ import annotations


class Gathering:
    """How many requests of one endpoint are worth waiting for.

    As many as came together of late: whoever was in the socket by the end of a batch, the batch included. A
    lone client is alone in each, and so never waits for company, however fast it is; of several clients that
    ask again when they are answered, each batch waits for all. When some of them leave, what is waited for
    halves with each batch that is smaller.
    """

    def __init__(self, max_batch: int, max_wait_s: float) -> None:
        self.max_batch = max_batch
        self.max_wait_s = max_wait_s
        self._together = 1.0

    @property
    def wanted(self) -> int:
        """A batch of so many begins at once; a smaller one waits for `max_wait_s` at the most."""
        return min(self.max_batch, int(self._together)) if self.max_wait_s else 1

    def saw(self, together: int) -> None:
        """A batch ended, and so many requests were there by then, its own included."""
        self._together = max(float(together), (self._together + together) / 2)
