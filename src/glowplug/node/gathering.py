"""When a batch is complete: pure, and the same for every kind of worker."""

from __future__ import annotations


class Gathering:
    """How many requests of one endpoint are worth waiting for.

    As many as came together lately: the requests of a batch, and those in the socket when it ended. A lone
    client is alone in each batch, so it never waits for others, however fast it is. If several clients ask
    again as soon as they are answered, each batch waits for all of them. When some of them leave, the
    number that is waited for halves with each smaller batch.
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
