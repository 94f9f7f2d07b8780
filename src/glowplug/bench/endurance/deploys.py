"""Deploys and roll-backs of `endurance`, and which of them were acknowledged, or are in doubt.

A call that broke off may or may not have been taken: until the next that is acknowledged, either is right.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from glowplug.bench.endurance.ground import Ground
from glowplug.bench.workloads import service_answer, service_source
from glowplug.bundle.inspect import Inspection, inspect_source
from glowplug.bundle.uploads import write_upload
from glowplug.client import Client
from glowplug.core.errors import GlowplugError, Unavailable
from glowplug.core.rng import Rng
from glowplug.core.status import FunctionStatus

_POLL_S = 0.05


class Known(msgspec.Struct):
    """What is known of one function. Versions go by the number that their answers carry; 0 is none."""

    acknowledged: int = 0
    in_doubt: set[int] = msgspec.field(default_factory=set)
    numbers: dict[str, int] = msgspec.field(default_factory=dict)
    """By the version's id, of those that were acknowledged."""


class Deployer:
    """All versions of some functions of one ground. Called from one thread at a time; `is_right` from any."""

    def __init__(self, ground: Ground, functions: Mapping[str, Mapping[str, Any]]) -> None:
        self._ground = ground
        self._functions = functions
        self._source = ground.folder / "service.py"
        self._inspection: Inspection | None = None
        self._number = 0
        self.known = {name: Known() for name in functions}
        self.acknowledged = 0
        self.refused: dict[str, int] = {}
        """Calls that were refused or broke off, by the error's code."""

    def deploy(self, *names: str) -> bool:
        """A new version of these functions. Whether every one was acknowledged."""
        self._number += 1
        number = self._number
        self._source.write_text(service_source(number, self._functions))
        # Versions differ in a number alone, so what the file declares is found out once.
        self._inspection = self._inspection or inspect_source(self._source)
        with tempfile.TemporaryDirectory(dir=self._ground.folder) as folder:
            archive = Path(folder) / "upload.tar"
            write_upload(self._source, self._inspection, archive)
            try:
                upload = self._client().upload(archive)
            except GlowplugError as error:
                self._refused(error)
                return False
        accepted = [self._deploy(name, number, upload) for name in names]
        return all(accepted)

    def roll_back(self, name: str, rng: Rng) -> bool:
        """Back to a seeded one of the earlier versions that are kept. Whether it was acknowledged."""
        known = self.known[name]
        try:
            status = self._client().describe(name)
        except GlowplugError as error:
            self._refused(error)
            return False
        earlier = sorted(v for v in status.versions if v != status.version and v in known.numbers)
        if not earlier:
            return False
        version = rng.choice(earlier)
        return self._try(known, known.numbers[version], lambda: self._client().rollback(name, version))

    def is_right(self, name: str, value: int, rounds: int, answer: Any) -> bool:
        """Whether it is what some version of that function, of those that were ever sent, answers."""
        number, digest = answer
        known: bool = 0 < number <= self._number
        return known and bool(digest == service_answer(name, number, value, rounds))

    def settle(self, within_s: float) -> list[str]:
        """Waits until no function is about to change, and returns what was lost: functions that are gone, not
        ready, or answer as a version that is not what was acknowledged last; or why nobody could be asked."""
        deadline_s = time.monotonic() + within_s
        while True:
            try:
                found = {each.name: each for each in self._client().functions()}
            except Unavailable as error:  # a connection that was kept may be to a gateway that was killed
                lost = [f"nobody answers: {error}"]
            else:
                lost = [
                    f"{name}: {why}" for name in self.known if (why := self._wrong(name, found.get(name)))
                ]
            if not lost or time.monotonic() > deadline_s:
                return lost
            time.sleep(_POLL_S)

    def _wrong(self, name: str, status: FunctionStatus | None) -> str:
        """Why the function is not as it was acknowledged; empty when it is."""
        known = self.known[name]
        if not known.acknowledged:
            return ""
        if status is None:
            return "gone"
        if status.state != "ready" or status.next:
            return f"{status.state}: {status.error or 'still changing'}"
        try:
            number, _ = self._client().invoke(name, {"value": 0})
        except GlowplugError as error:
            return f"does not answer: {error}"
        wanted = {known.acknowledged} | known.in_doubt
        if number in wanted:
            return ""
        return f"answers as version {number}, not {sorted(wanted)} ({status.error or 'no error is told'})"

    def _deploy(self, name: str, number: int, upload: str) -> bool:
        known = self.known[name]

        def deploy() -> None:
            accepted = self._client().deploy(name, upload, update=bool(known.acknowledged))
            known.numbers[accepted["version"]] = number

        return self._try(known, number, deploy)

    def _try(self, known: Known, number: int, call: Callable[[], None]) -> bool:
        try:
            call()
        except Unavailable as error:
            self._refused(error)
            known.in_doubt.add(number)
            return False
        except GlowplugError as error:
            self._refused(error)
            return False
        known.acknowledged = number
        known.in_doubt.clear()
        self.acknowledged += 1
        return True

    def _client(self) -> Client:
        client = self._ground.client
        if client is None:
            raise Unavailable("the server is being started")
        return client

    def _refused(self, error: GlowplugError) -> None:
        self.refused[error.code] = self.refused.get(error.code, 0) + 1
