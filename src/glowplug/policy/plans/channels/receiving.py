"""How long receivers take from when messages could be had, and the calls that they make meanwhile.

A receiver lives for one walk along the critical path. Arrays are (M, E) for M memory sizes looked at side
by side and the E transfers of one step, and (M, G, W) for the G workers that await something, at most W
things each.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from glowplug.policy.plans.billing import PUBLISH_UNIT_BYTES
from glowplug.policy.plans.facts import Reals
from glowplug.policy.plans.model import Delays
from glowplug.policy.plans.spread import Ids


class Arrivals(msgspec.Struct, frozen=True, eq=False):
    """The transfers of one step: `there_s` when each could be had, `messages` and `nbytes` of each."""

    target: Ids  # (E,)
    source: Ids  # (E,)
    messages: Reals  # (E,)
    nbytes: Reals  # (E,)
    there_s: Reals  # (M, E)


class Groups:
    """Things of different targets side by side: `place` says where in (G, W) each of them goes."""

    def __init__(self, target: Ids) -> None:
        self.targets, group = np.unique(target, return_inverse=True)
        self.many = np.bincount(group)
        order = np.argsort(group, kind="stable")
        number = np.empty(len(target), np.int64)
        number[order] = np.arange(len(target)) - np.repeat(np.cumsum(self.many) - self.many, self.many)
        self.place = group, number
        self.shape = len(self.many), int(self.many.max())

    def spread(self, values: NDArray[np.generic], empty: float) -> Reals:
        """(..., E) as (..., G, W)."""
        found = np.full((*values.shape[:-1], *self.shape), empty)
        found[(..., *self.place)] = values
        return found


class Receiver(Protocol):
    ahead: bool
    """Whether who computes is given meanwhile what it needs next: not where each look costs a call."""
    calls: Reals
    """(M,): so far."""

    @property
    def units(self) -> Reals:
        """(M,): as which they are billed, where what they bring counts."""

    def take(self, now: Reals, arrivals: Arrivals) -> Reals:
        """(M, P): when each worker has all that is for it; who awaits nothing stays at `now`."""

    def take_one(self, at: Reals, arrivals: Arrivals) -> Reals:
        """(M, E): the same where each worker awaits one transfer, and asks for it from `at` (M, E) on."""


class AllAtOnce:
    """Somebody pushes: what is there comes in one call's time."""

    ahead = True

    def __init__(self, sizes: int, call_s: float, bytes_per_s: float) -> None:
        self.calls = self.units = np.zeros(sizes)
        self._call_s = call_s
        self._bytes_per_s = bytes_per_s

    def take(self, now: Reals, arrivals: Arrivals) -> Reals:
        groups = Groups(arrivals.target)
        there = groups.spread(arrivals.there_s, 0.0).max(axis=2)
        nbytes = groups.spread(arrivals.nbytes, 0.0).sum(axis=1)
        now = now.copy()
        now[:, groups.targets] = (
            np.maximum(now[:, groups.targets], there) + self._call_s + nbytes / self._bytes_per_s
        )
        return now

    def take_one(self, at: Reals, arrivals: Arrivals) -> Reals:
        return np.maximum(at, arrivals.there_s) + (self._call_s + arrivals.nbytes / self._bytes_per_s)


class Polling:
    """A poll comes back with up to `most` messages as soon as there is one.

    The first polls of a step, as many as its messages fill, wait until the last message came in the two
    steps before, the sooner of both; a poll that comes back full calls for as many as must follow, any
    other for one. The rule is that of `distributed/channels/patience.py` and `queue.py`.
    """

    ahead = True
    SHORTER, AT_A_TIME = 0.8, 4

    def __init__(self, sizes: int, workers: int, delays: Delays, most: int) -> None:
        self.calls = np.zeros(sizes)
        self._beyond = np.zeros(sizes)
        self._half_s = delays.poll_s / 2
        self._bytes_per_s = delays.bytes_per_s
        self._most = most
        self._wait_s = np.zeros((sizes, workers))
        """How long each worker lets the next step's messages gather."""
        self._learned_s = np.zeros((sizes, workers))
        self._seen_s = np.full((sizes, workers), -np.inf)
        self._room = np.zeros((sizes, workers))
        """Of each worker's last poll: when it was answered, and how many more it would have brought."""

    @property
    def units(self) -> Reals:
        """A poll is one for each 64 KiB that it brings, and one at least."""
        return self.calls + self._beyond

    def take(self, now: Reals, arrivals: Arrivals) -> Reals:
        """Messages that were there when the last poll of the step before was answered came with that poll,
        up to ten. A worker that has everything by then does not wait."""
        counts = arrivals.messages.astype(np.int64)
        groups = Groups(np.repeat(arrivals.target, counts))
        who = groups.targets
        nbytes = Groups(arrivals.target).spread(arrivals.nbytes, 0.0).sum(axis=1)
        each_units = nbytes / groups.many / PUBLISH_UNIT_BYTES
        each_s = nbytes / groups.many / self._bytes_per_s
        there = np.sort(groups.spread(np.repeat(arrivals.there_s, counts, axis=1), np.inf), axis=2)
        came = (there <= self._seen_s[:, who, None]).sum(axis=2)
        done = np.minimum(came, self._room[:, who]).astype(np.int64)
        self._room[:, who] -= done
        self._beyond += (done * each_units).sum(axis=1)
        waits = done < groups.many
        begun = now[:, who]
        several = Groups(arrivals.target).many > 1  # sources: what one sends gathers nothing
        waited = np.where(several, self._wait_s[:, who], 0.0)
        at = begun + np.where(waits, waited, 0.0)
        polls = self._polls(groups.many - done)
        asked, late = at.copy(), np.zeros(at.shape, np.bool_)
        full = np.ones(at.shape, np.bool_)
        self.calls += polls.sum(axis=1)
        while (waiting := done < groups.many).any():
            late |= waiting & ~full
            first = np.take_along_axis(there, np.minimum(done, there.shape[2] - 1)[..., None], axis=2)[..., 0]
            seen = np.maximum(asked + self._half_s, first)
            taken = np.minimum((there <= seen[..., None]).sum(axis=2) - done, self._most)
            done += np.where(waiting, taken, 0)
            beyond = np.maximum(0.0, np.ceil(taken * each_units) - 1)
            self._beyond += np.where(waiting, beyond, 0.0).sum(axis=1)
            self._seen_s[:, who] = np.where(waiting, seen, self._seen_s[:, who])
            self._room[:, who] = np.where(waiting, self._most - taken, self._room[:, who])
            at = np.where(waiting, np.maximum(at, seen + self._half_s) + taken * each_s, at)
            full, missing = taken == self._most, groups.many - done
            more = np.where(full, self._polls(missing), 1) - (polls - 1)
            more = np.where(waiting & (missing > 0), np.maximum(0, more), 0)
            asked = np.where(polls > 1, asked, at)
            polls = polls - 1 + more
            self.calls += more.sum(axis=1)
        learned, learns = np.where(late, at - begun, waited), waits & several
        shorter = self.SHORTER * np.minimum(learned, self._learned_s[:, who])
        self._wait_s[:, who] = np.where(learns, shorter, self._wait_s[:, who])
        self._learned_s[:, who] = np.where(learns, learned, self._learned_s[:, who])
        now = now.copy()
        now[:, who] = at
        return now

    def take_one(self, at: Reals, arrivals: Arrivals) -> Reals:
        """What was there when the poll before it was answered came with that, as long as ten are not
        exceeded. A poll that waits brings the first message, and the others take more."""
        who, many = arrivals.target, arrivals.messages
        came = (arrivals.there_s <= self._seen_s[:, who]) & (self._room[:, who] >= many)
        first = (arrivals.there_s > at + self._half_s) & (many > 1)
        seen = np.maximum(at + self._half_s, arrivals.there_s) + first * 2 * self._half_s
        polls = np.where(came, 0.0, first + np.ceil((many - first) / self._most))
        units = arrivals.nbytes / PUBLISH_UNIT_BYTES  # all chunks but the last are whole ones
        self.calls += polls.sum(axis=1)
        self._beyond += np.where(came, units, np.maximum(0.0, np.ceil(units) - polls)).sum(axis=1)
        self._seen_s[:, who] = np.where(came, self._seen_s[:, who], seen)
        self._room[:, who] = np.where(came, self._room[:, who], self._most) - many
        return np.where(came, at, seen + self._half_s) + arrivals.nbytes / self._bytes_per_s

    def _polls(self, missing: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.minimum(-(-missing // self._most), self.AT_A_TIME)


class Asking:
    """Objects are asked for by name, all that are due at once: first when the last two steps' were still
    missing for the last time, the sooner of both, then ever more seldom. The rule is that of
    `distributed/channels/pace.py`.
    """

    ahead = False
    FIRST_S, GROWTH, MOST_S, EARLIER = 0.01, 1.6, 0.1, 0.5

    def __init__(self, sizes: int, workers: int, delays: Delays) -> None:
        self.calls = np.zeros(sizes)
        self._missing_s = np.zeros((sizes, workers, workers))
        """When each worker tries first to have another's."""
        self._last_s = np.zeros_like(self._missing_s)
        self._delays = delays
        waits = np.minimum(self.MOST_S, self.FIRST_S * self.GROWTH ** np.arange(20))
        self._again_s = np.concatenate([[0.0], np.cumsum(waits + delays.get_s)])

    @property
    def units(self) -> Reals:
        return self.calls

    def take(self, now: Reals, arrivals: Arrivals) -> Reals:
        groups = Groups(arrivals.target)
        there, nbytes = groups.spread(arrivals.there_s, np.inf), groups.spread(arrivals.nbytes, 0.0)
        large = groups.spread(arrivals.messages, 0.0) > 1
        pairs = arrivals.target, arrivals.source
        missing = groups.spread(self._missing_s[:, *pairs], 0.0)
        at = now[:, groups.targets]
        since, due, misses = at[..., None], at[..., None] + missing, np.zeros(there.shape)
        missing = self.EARLIER * missing
        pending = np.isfinite(there)
        while (waits := pending.any(axis=2)).any():
            at = np.where(waits, np.maximum(at, np.where(pending, due, np.inf).min(axis=2)), at)
            asked = pending & (due <= at[..., None])
            turns = self._turns_s(asked)
            before = (np.cumsum(asked, axis=2) - 1) // self._delays.parallel
            found = asked & (there <= at[..., None] + (before + 0.5) * self._delays.get_s)
            missed = asked & ~found
            missing = np.where(missed, at[..., None] - since, missing)
            at = at + turns + (found * nbytes).sum(axis=2) / self._delays.bytes_per_s
            wait = np.minimum(self.MOST_S, self.FIRST_S * self.GROWTH**misses)
            due = np.where(missed, at[..., None] + wait, due)
            misses += missed
            at = at + self._turns_s(found & large)
            self.calls += asked.sum(axis=(1, 2)) + (found & large).sum(axis=(1, 2))
            pending &= ~found
        self._learn(pairs, missing[:, *groups.place])
        now = now.copy()
        now[:, groups.targets] = at
        return now

    def take_one(self, at: Reals, arrivals: Arrivals) -> Reals:
        pairs = arrivals.target, arrivals.source
        get_s, last_s = self._delays.get_s, float(self._again_s[-1])
        first = self._missing_s[:, *pairs]
        late = np.maximum(0.0, arrivals.there_s - get_s / 2 - at - first)
        beyond = np.ceil(np.maximum(0.0, late - last_s) / (self.MOST_S + get_s))
        misses = np.searchsorted(self._again_s, np.minimum(late, last_s))
        waited = first + self._again_s[misses] + beyond * (self.MOST_S + get_s)
        before = np.where(
            beyond > 0, waited - self.MOST_S - get_s, first + self._again_s[np.maximum(0, misses - 1)]
        )
        self._learn(pairs, np.where(misses + beyond > 0, before, self.EARLIER * first))
        self.calls += (misses + beyond + arrivals.messages).sum(axis=1)
        read_s = arrivals.messages * get_s + arrivals.nbytes / self._delays.bytes_per_s
        came: Reals = at + waited + read_s
        return came

    def _learn(self, pairs: tuple[Ids, Ids], missing: Reals) -> None:
        self._missing_s[:, *pairs] = np.minimum(self._last_s[:, *pairs], missing)
        self._last_s[:, *pairs] = missing

    def _turns_s(self, asked: NDArray[np.bool_]) -> Reals:
        turns: Reals = np.ceil(asked.sum(axis=2) / self._delays.parallel) * self._delays.get_s
        return turns
