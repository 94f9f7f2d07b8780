"""`glowplug distributed clean`: what runs left whose process was killed."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table

from glowplug.cli.distributed_rooms import Option, options_of
from glowplug.cli.functions import Json
from glowplug.cli.output import console, print_json
from glowplug.core.errors import InvalidArguments
from glowplug.core.units import parse_seconds, show_seconds

if TYPE_CHECKING:
    from glowplug.distributed.leftovers import Leftover

_OPTIONS = {"queue": ("endpoint", "region"), "nats": ("url",)}


def clean(
    *,
    store: str = "",
    channel: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")] = (),
    option: Annotated[tuple[str, ...], Parameter(name="--option")] = (),
    older_than: str = "1d",
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Remove what runs left that could not close: their process was killed, or the network gone.

    Folders of this machine whose process is dead are removed, whatever their age. In a store, in queues and
    topics and on a NATS server nobody tells whether a run still goes on: there its age decides.

    For example:

        glowplug distributed clean --dry-run
        glowplug distributed clean --store s3://bucket/runs --older-than 2h
        glowplug distributed clean --channel queue nats --option nats.url=nats://10.0.0.5:4222
        glowplug distributed clean --store s3://bucket/runs --dry-run --json | jq .[].run

    Parameters
    ----------
    store
        An object store, s3://BUCKET/PREFIX, that runs used as a channel, for checkpoints or with --on lambda,
        and nobody else. Objects with other names than runs give are left.
    channel
        queue: topics and queues of SNS and SQS. nats: streams of JetStream.
    option
        CHANNEL.NAME=VALUE: queue.endpoint, queue.region, nats.url.
    older_than
        Leave what is younger: what a run wrote last in a store, when its queues and streams were made. Longer
        than the longest run.
    dry_run
        Say what would be removed, and remove nothing.
    json
        Print JSON.
    """
    older_than_s = parse_seconds(older_than, "--older-than")
    found = [each for each in _found(store, channel, options_of(option)) if each.is_over(older_than_s)]
    if not dry_run:
        for each in found:
            each.remove()
    if json:
        print_json([_facts(each, removed=not dry_run) for each in found])
        return
    if not found:
        console.print("nothing was left")
        return
    table = Table("where", "run", "things", "age", title="would be removed" if dry_run else "removed")
    for each in found:
        age = "its process is dead" if each.age_s is None else show_seconds(each.age_s)
        table.add_row(each.where, each.run, str(each.things), age)
    console.print(table)


def _found(store: str, channels: tuple[str, ...], options: list[Option]) -> list[Leftover]:
    from glowplug.distributed.channels.shared_memory import FOLDER
    from glowplug.distributed.channels.stored_blobs import StoredBlobs
    from glowplug.distributed.leftovers import Leftover, in_folders, in_store
    from glowplug.node.isolation.memory_caps import abandoned_caps, remove_caps

    for each in channels:
        if each not in _OPTIONS:
            raise InvalidArguments(f"--channel {each}: say queue or nats", "channel")
    for given in options:
        if given.name not in _OPTIONS.get(given.channel, ()):
            raise InvalidArguments(
                f"--option {given.channel}.{given.name}: there are queue.endpoint, queue.region and nats.url",
                "option",
            )
    found = in_folders([Path(FOLDER), Path(tempfile.gettempdir())])
    found += [
        Leftover(str(left.parent), left.name, 1, None, partial(remove_caps, left))
        for left in abandoned_caps()
    ]
    if store:
        found += in_store(StoredBlobs(store))
    if "queue" in channels:
        from glowplug.distributed.channels.aws import AwsService
        from glowplug.distributed.channels.aws_leftovers import in_queues

        where = _of("queue", options)
        found += in_queues(AwsService(where.get("endpoint"), where.get("region")))
    if "nats" in channels:
        from glowplug.distributed.channels.nats_leftovers import in_streams

        found += in_streams(**_of("nats", options))
    return found


def _of(channel: str, options: list[Option]) -> dict[str, str]:
    return {each.name: each.value for each in options if each.channel == channel}


def _facts(each: Leftover, *, removed: bool) -> dict[str, object]:
    return {
        "where": each.where, "run": each.run, "things": each.things, "age_s": each.age_s, "removed": removed,
    }  # fmt: skip
