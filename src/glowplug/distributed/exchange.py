"""What one worker of a run has sent, has got, still wants and must keep. No clock, no I/O.

A payload is named by its step, source and target, and computing it again gives the same bytes, so whatever
comes twice, late or out of order changes nothing. What a target may still ask for is kept until the target
says that it will not: when a checkpoint holds what it made of it. What does not come, or comes damaged, is
asked for again in a new attempt, whose messages have keys of their own.

A worker that takes over for a lost one is its next incarnation. It asks its sources for everything since its
checkpoint, unless the channel gives it again. What nobody holds any more raises ReplayImpossible: then all
workers go back to a common line in the next epoch, and what the epoch before still sends is dropped.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence

from glowplug.distributed.channels.base import Buffer, MessageKey
from glowplug.distributed.errors import FrameError, FrameVersion, ReplayImpossible
from glowplug.distributed.frame import Assembly, Kind, Payload, frames
from glowplug.distributed.kept import Kept
from glowplug.distributed.notes import Done, Gone, Need, Note, NoteBook, Outgoing, Rejoined
from glowplug.distributed.start import Place

ATTEMPTS = 256
"""So many keys has a payload within an epoch; the first needs one."""


class Exchange:
    """`sources` are those who send for each step of this worker, `targets` those it sends to for each of
    theirs.

    `first` is the step that it begins with: it wants nothing of an earlier one, and cannot send it again.
    Without `keep` nothing is kept, and nothing asked for again: the channel is trusted not to lose anything.
    Where `looks_are_calls`, few notes are looked for, and what came damaged is looked for once more before it
    is asked for. Where the channel `replays`, a new incarnation may find what its predecessor asked for.
    `generation`: see `Orders`.
    """

    def __init__(
        self,
        place: Place,
        sources: Mapping[int, Iterable[int]],
        targets: Mapping[int, Iterable[int]],
        *,
        first: int = 0,
        limit_bytes: int,
        keep: bool = True,
        looks_are_calls: bool = False,
        replays: bool = False,
        generation: int = 0,
    ) -> None:
        self.place = place
        self.epoch = (generation + place.epoch) * ATTEMPTS
        """In keys: that of the first sending of a payload."""
        self.first = first
        self.keep = keep
        self.damaged = 0
        self.sent_again = 0
        self.looks_are_calls = looks_are_calls
        self._predecessor_asked = replays and place.incarnation > 0
        self._rejected: list[MessageKey] = []
        self._read_again: set[MessageKey] = set()
        self._limit_bytes = limit_bytes
        of_all_steps = {step: tuple(sorted(who)) for step, who in sources.items()}
        self._sources = {step: who for step, who in of_all_steps.items() if step >= first}
        self._targets = {step: tuple(who) for step, who in targets.items()}
        self._steps = sorted(self._sources)
        self._after = _following(self._sources)
        # Of earlier steps, too: they may wait to hear that this worker is done.
        self._all_sources = _union(of_all_steps)
        self._came: dict[tuple[int, int], Payload] = {}
        self._assemblies: dict[tuple[int, int], list[Assembly]] = {}
        self._taken = first
        self._kept = Kept(_union(self._targets))
        partners = sorted({*self._all_sources, *self._kept.targets})
        self._notes = NoteBook(place.run, place.worker, self.epoch, place.incarnation, partners, limit_bytes)

    # What is sent.

    def send(self, step: int, target: int, kind: Kind, body: Buffer) -> Outgoing:
        """The messages of one payload; none for a target that will not ask for it. Raises LimitTooSmall."""
        if self._kept.is_done(target, step):
            return []
        if self.keep:
            self._kept.add(target, step, kind, bytes(body))
        return frames(self._key(step, target, 0), kind, body, self._limit_bytes)

    @property
    def kept_bytes(self) -> int:
        return self._kept.nbytes

    def reached(self, target: int) -> int:
        """The step that `target` is known to have come to, if it has not gone on since."""
        return self._kept.reached(target)

    # What is wanted.

    def wanted(self, step: int) -> set[MessageKey]:
        """The messages that are missing for a step."""
        return {
            key
            for source in self.missing(step)
            for assembly in self._assembling(step, source)
            for key in assembly.wanted
        }

    def wanted_ahead(self, step: int, left_out: Collection[int] = ()) -> set[MessageKey]:
        """What the sources whose payload for a step is missing send next, and what they sent again to whom
        this worker took over from. Where looks are calls, not of those that left it out or were asked: it
        would tell nothing new."""
        missing = self.missing(step)
        ahead = {
            key
            for source in missing
            if (after := self._after[step, source]) is not None and (after, source) not in self._came
            if not self.looks_are_calls or not (source in left_out or self._is_asked(step, source))
            for assembly in self._assembling(after, source)
            for key in assembly.wanted
        }
        return ahead | self.wanted_answers(step, missing)

    def wanted_answers(self, step: int, sources: Iterable[int]) -> set[MessageKey]:
        """What these sent again to whom this worker took over from, if it did."""
        if not self._predecessor_asked:
            return set()
        return {self._key(step, self.place.worker, 1, source) for source in sources}

    def wanted_notes(self, partners: Collection[int] | None = None, stalls: int = 0) -> set[MessageKey]:
        """What other workers, or these of them, may have to say about what was sent."""
        return self._notes.wanted(partners, stalls, sparingly=self.looks_are_calls)

    def missing(self, step: int) -> list[int]:
        """The sources whose payload for a step has not come, ascending."""
        return [source for source in self._sources.get(step, ()) if (step, source) not in self._came]

    def coming(self) -> int | None:
        """The first step that misses something."""
        ahead = range(bisect_left(self._steps, self._taken), len(self._steps))
        return next((self._steps[at] for at in ahead if self.missing(self._steps[at])), None)

    def present(self, step: int) -> dict[int, Payload]:
        """What has come for a step and was not taken, by source, ascending."""
        found = {source: self._came.get((step, source)) for source in self._sources.get(step, ())}
        return {source: payload for source, payload in found.items() if payload is not None}

    def deliver(self, came: Mapping[MessageKey, Buffer]) -> Outgoing:
        """Takes in what a channel gave, and returns what is to be sent for it: what was asked for again, and
        requests for what came damaged. Raises FrameVersion, ReplayImpossible."""
        answers: Outgoing = []
        for key, message in came.items():
            if key.epoch // ATTEMPTS != self.epoch // ATTEMPTS:
                continue
            if self._notes.owns(key):
                note = self._notes.read(key, message)
                answers += [] if note is None else self._answer(key.source, note)
            else:
                answers += self._deliver_data(key, message)
        return answers

    def take_rejected(self) -> list[MessageKey]:
        """The messages that were damaged since the last call: the channel may forget that they came."""
        rejected, self._rejected = self._rejected, []
        return rejected

    def take(self, step: int) -> dict[int, Payload]:
        """The payloads of a step, by source, ascending. Raises KeyError while one is missing."""
        found = {source: self._came[step, source] for source in self._sources.get(step, ())}
        for source in found:
            del self._came[step, source]
        self._taken = max(self._taken, step + 1)
        return found

    def ask_again(self, step: int) -> Outgoing:
        """Requests for what a step still misses. Raises ReplayImpossible when it was asked for too often."""
        if not self.keep:
            return []
        return [message for source in self.missing(step) for message in self._need(step, source)]

    def ask_overtaken(self, step: int, left_out: Collection[int] = ()) -> Outgoing:
        """Requests, once, for what a step misses of sources whose next payload has come, and of those that
        left it out. Raises ReplayImpossible."""
        overtaken = [
            source
            for source in self.missing(step)
            if source in left_out or (self._after[step, source], source) in self._came
            if not self._is_asked(step, source)
        ]
        return [message for source in overtaken if self.keep for message in self._need(step, source)]

    def rejoin(self) -> Outgoing:
        """What a new incarnation says first, where the channel does not give again what its predecessor
        got."""
        return self._tell_sources(Rejoined(self.first))

    def done(self, step: int) -> Outgoing:
        """A checkpoint holds all that was made of what came before `step`."""
        return self._tell_sources(Done(step))

    def validate(self) -> None:
        self._kept.validate()
        for step, source in self._came:
            assert step >= self._taken
            assert source in self._sources[step]
            assert (step, source) not in self._assemblies

    def _deliver_data(self, key: MessageKey, message: Buffer) -> Outgoing:
        step, source = key.layer, key.source
        if step < self._taken or source not in self.missing(step):
            return []
        attempts = self._assembling(step, source)
        if key.epoch % ATTEMPTS == len(attempts):
            attempts.append(Assembly([key.part(0)]))
        for assembly in attempts:
            try:
                complete = assembly.add({key: message})
            except FrameVersion:
                raise
            except FrameError:
                self.damaged += 1
                return self._mend(key)
            if complete:
                self._came[step, source] = complete[0][1]
                del self._assemblies[step, source]
                break
        return []

    def _mend(self, key: MessageKey) -> Outgoing:
        """Reading again helps where it was damaged on its way here, and not in the store."""
        if self.looks_are_calls and key in self._read_again:
            return self._need(key.layer, key.source)
        self._rejected.append(key)
        self._read_again.add(key)
        return [] if self.looks_are_calls else self._need(key.layer, key.source)

    def _answer(self, partner: int, note: Note) -> Outgoing:
        match note:
            case Done(step):
                self._kept.forget(partner, step)
                return []
            case Gone(step):
                if step >= self._taken and partner in self.missing(step):
                    raise ReplayImpossible(
                        f"worker {self.place.worker} needs step {step} of worker {partner}, who began later"
                    )
                return []
            case Need(step, attempt):
                self._kept.asked(partner, step)
                return self._again(partner, step, attempt)
            case Rejoined(first):
                steps = sorted(
                    step for step, who in self._targets.items() if step >= first and partner in who
                )
                return [message for step in steps for message in self._again(partner, step, 0)]

    def _again(self, target: int, step: int, attempt: int) -> Outgoing:
        """What was not sent yet is not late; what this incarnation never had, it cannot send."""
        if step < self.first:
            return [] if self._kept.is_done(target, step) else self._notes.tell(target, Gone(step))
        kept = self._kept.get(target, step)
        if kept is None:
            return []
        self.sent_again += 1
        kind, body = kept
        return frames(self._key(step, target, attempt), kind, body, self._limit_bytes)

    def _need(self, step: int, source: int) -> Outgoing:
        attempts = self._assembling(step, source)
        attempt = len(attempts)
        if not self.keep or attempt == ATTEMPTS:
            raise ReplayImpossible(
                f"worker {self.place.worker} misses step {step} of worker {source}, asked {attempt - 1} times"
            )
        attempts.append(Assembly([self._key(step, self.place.worker, attempt, source)]))
        return self._notes.tell(source, Need(step, attempt))

    def _is_asked(self, step: int, source: int) -> bool:
        return len(self._assembling(step, source)) > 1

    def _assembling(self, step: int, source: int) -> list[Assembly]:
        """One for each attempt: whichever is complete first will do."""
        key = self._key(step, self.place.worker, 0, source)
        return self._assemblies.setdefault((step, source), [Assembly([key])])

    def _tell_sources(self, note: Note) -> Outgoing:
        return [message for source in self._all_sources for message in self._notes.tell(source, note)]

    def _key(self, step: int, target: int, attempt: int, source: int | None = None) -> MessageKey:
        source = self.place.worker if source is None else source
        return MessageKey(self.place.run, self.epoch + attempt, step, source, target)


def _union(who: Mapping[int, Sequence[int]]) -> list[int]:
    return sorted({worker for workers in who.values() for worker in workers})


def _following(sources: Mapping[int, Sequence[int]]) -> dict[tuple[int, int], int | None]:
    """The next step for which the same source sends, by step and source."""
    found: dict[tuple[int, int], int | None] = {}
    following: dict[int, int] = {}
    for step in sorted(sources, reverse=True):
        for source in sources[step]:
            found[step, source] = following.get(source)
            following[source] = step
    return found
