"""The entry that Lambda calls: launches others, fetches its part, works, says how it went.

Importing it is cheap: others are launched before the kernel is imported.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from glowplug.core.errors import GlowplugError
from glowplug.distributed.aws_lambda.baggage import Baggage, Word
from glowplug.distributed.aws_lambda.names import lambda_client
from glowplug.distributed.aws_lambda.pulse import Pulse
from glowplug.distributed.aws_lambda.summons import Summons, send
from glowplug.distributed.platform_line import Failure, Response, Told
from glowplug.distributed.start import Place
from glowplug.distributed.worker import tell_failures
from glowplug.policy.plans.tree import launch_tree

_FOLDER = "glowplug-worker-"
_LEFT_S = 2.0
"""Of a function's own time, for saying that the run's is over."""


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """`event` is a `Summons`. Nobody reads what it returns; what it says lies in the store.

    Raises ChannelError where not even that can be said.
    """
    began_s = time.monotonic()
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / "glowplug-numba"))
    summons = msgspec.convert(event, Summons)
    own_s = context.get_remaining_time_in_millis() / 1000 - _LEFT_S
    start = msgspec.structs.replace(summons.start, deadline_s=min(summons.start.deadline_s, own_s))
    unsent = _launch(summons, start.deadline_s)
    from glowplug.distributed.channels.stored_blobs import StoredBlobs

    blobs = StoredBlobs(**summons.store)
    _tidy(Path(tempfile.gettempdir()))
    baggage = Baggage(blobs, start.place.run, summons.token)
    pulse = Pulse(baggage, start.place, summons.beat_s)
    line = LambdaLine(baggage, start.place, began_s)
    try:
        with tempfile.TemporaryDirectory(prefix=_FOLDER) as folder:

            def do() -> None:
                if unsent is not None:
                    raise unsent
                from glowplug.distributed.work import work

                orders = line.baggage.fetch(start.place.worker, Path(folder))
                line.result = Path(orders.result)
                work(msgspec.structs.replace(start, orders=str(Path(folder) / "orders.json")), line, began_s)

            failed = tell_failures(start, line, do)
            line.leave()
    finally:
        pulse.stop()
        blobs.close()
    return {"worker": start.place.worker, "failed": bool(failed)}


def _tidy(temporary: Path) -> None:
    """What a function that ended at once left here. A sandbox runs one at a time."""
    for folder in temporary.glob(f"{_FOLDER}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _launch(summons: Summons, deadline_s: float) -> GlowplugError | None:
    """Why some could not be launched."""
    start = summons.start
    if not start.launches:
        return None
    try:
        tree = launch_tree(summons.workers, summons.branching)
        client = lambda_client(summons.endpoint, summons.region)
        for worker in start.launches:
            send(client, summons.of(worker, tuple(tree.children(worker)), deadline_s))
    except GlowplugError as error:
        return error
    return None


class LambdaLine:
    """`platform_line.PlatformLine` by way of the store: the last word only, since each is a paid PUT, and
    of one that stayed for others that it leaves. The root's result is there before its word. Where the run is
    over, or another took over, nobody would hear it, and it would stay."""

    def __init__(self, baggage: Baggage, place: Place, began_s: float) -> None:
        self.baggage = baggage
        self.result: Path | None = None
        self._place, self._began_s = place, began_s
        self._stays = False

    def launch(self, worker: int) -> None:
        """Was done before anything else."""

    def tell(self, what: Told) -> None:
        if not isinstance(what, (Response, Failure)) or not self.baggage.wants(self._place):
            return
        if isinstance(what, Response):
            if self.result is not None and self.result.exists():
                self.baggage.give_result(self.result)
            what = msgspec.structs.replace(what, platform_meter=self.baggage.meter)
            self._stays = what.keeps
        self._say(what)

    def leave(self) -> None:
        """It is billed until now, and not until it told what it did."""
        if self._stays and self.baggage.wants(self._place):
            self._say(None)

    def _say(self, what: Response | Failure | None) -> None:
        self.baggage.say(Word(self._place, what, time.monotonic() - self._began_s))
