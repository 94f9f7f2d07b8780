"""Another worker than the first of a model that is spread over several: it computes what others hand it."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from glowplug.bundle.gangs import load_stage
from glowplug.bundle.instantiate import Phases, Served, find_target
from glowplug.bundle.manifest import MANIFEST, Manifest
from glowplug.core.errors import WeightsError
from glowplug.distributed.channels.shared_memory import SharedMemoryRoom
from glowplug.loader import LoaderError
from glowplug.node import procfs, wire
from glowplug.node.inference import stay_in_inference_mode
from glowplug.node.messages import Fork, Place, WorkerReady
from glowplug.node.parallel import restore_threads
from glowplug.node.zygote import give_back

if TYPE_CHECKING:
    from glowplug.distributed.hops import Hop


def connect(served: Served, place: Place) -> None:
    """Before the head answers: its model reaches the other workers, which may still be climbing."""
    from torch import nn

    from glowplug.distributed.hops import Others
    from glowplug.distributed.stages import handover_in

    handover = served.handover
    assert handover is not None
    handover.peer = Others(_hop(place))
    for model in vars(served.target).values():
        if isinstance(model, nn.Module) and handover_in([model]) is handover:
            handover.take_turns(model)


def run_part(message: Fork, control: socket.socket) -> None:
    """Climbs, says so, and serves until its gang is over. Raises what loading its weights raises."""
    from glowplug.distributed.hops import serve

    assert message.gang is not None
    phases = Phases()
    phases.seconds["fork"] = max(0.0, time.monotonic() - message.sent_s)
    os.environ.setdefault("GLOWPLUG_FUNCTION", message.function)
    bundle = Path(message.bundle)
    manifest = msgspec.json.decode((bundle / MANIFEST).read_bytes(), type=Manifest)
    with phases.phase("import"):
        find_target(manifest.declaration.module, manifest.declaration.qualname, bundle / "code")
    with phases.phase("build"):
        try:
            pack, stage = load_stage(Path(message.pack))
        except (OSError, LoaderError) as error:
            raise WeightsError(f"the packed weights of worker {message.gang.worker}: {error}") from error
    restore_threads()
    hop = _hop(message.gang)
    pack.prefetch()
    stay_in_inference_mode()
    wire.send(control, WorkerReady(phases.seconds, 0, give_back(procfs.private_dirty_bytes())))
    serve(hop, stage, message.gang.worker)


def _hop(place: Place) -> Hop:
    from glowplug.distributed.hops import Hop

    room = SharedMemoryRoom(str(Path(place.folder).parent)).join(place.run, place.workers)
    return Hop(room.end(place.worker), place.run, place.workers)
