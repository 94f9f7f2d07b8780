"""The event that makes a function a worker, and how it is sent."""

from __future__ import annotations

from typing import Any

import msgspec

from glowplug.distributed.aws_lambda.limits import check_event
from glowplug.distributed.aws_lambda.names import named
from glowplug.distributed.start import Place, Start


class Summons(msgspec.Struct, frozen=True, kw_only=True):
    """`start` without the path of its orders, which lie in the `store` (what `StoredBlobs` takes). `function`
    is who is invoked, at `endpoint`, and whom it invokes for those that it launches. `token`: see `Roll`."""

    start: Start
    workers: int
    branching: int | None
    function: str
    endpoint: str | None
    region: str | None
    store: dict[str, Any]
    beat_s: float
    token: str = ""

    def of(self, worker: int, launches: tuple[int, ...], deadline_s: float) -> Summons:
        """For one that this one launches, in the first epoch, from the first line."""
        start = msgspec.structs.replace(
            self.start, place=Place(self.start.place.run, worker), launches=launches, deadline_s=deadline_s
        )
        return msgspec.structs.replace(self, start=start)


def send(client: Any, summons: Summons) -> None:
    """Returns when Lambda has taken the event, which is long before the function runs. Raises PlatformError,
    InvalidArguments."""
    event = msgspec.json.encode(summons)
    check_event(event)
    with named(f"invoking {summons.function} for worker {summons.start.place.worker}"):
        client.invoke(FunctionName=summons.function, InvocationType="Event", Payload=event)
