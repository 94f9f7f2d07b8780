"""Functions of Lambda as workers, on a server that speaks as Lambda does and runs what it is given."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("boto3", reason="pip install 'glowplug[distributed]'")
pytest.importorskip("numba", reason="pip install 'glowplug[distributed]'")

from glowplug.cli.distributed_lambda import Cloudy, on_lambda
from glowplug.cli.distributed_run import run as run_command
from glowplug.core.errors import InvalidArguments
from glowplug.distributed import assignment
from glowplug.distributed.aws_lambda.baggage import Baggage, Roll, Word
from glowplug.distributed.aws_lambda.function import Shape, ensure
from glowplug.distributed.aws_lambda.handler import LambdaLine
from glowplug.distributed.aws_lambda.names import lambda_client
from glowplug.distributed.aws_lambda.package import Package
from glowplug.distributed.aws_lambda.platform import Cloud, LambdaPlatform
from glowplug.distributed.aws_lambda.pulse import BEAT_S, Pulses
from glowplug.distributed.aws_lambda.summons import Summons, send
from glowplug.distributed.channels.meter import Meter
from glowplug.distributed.channels.registry import room
from glowplug.distributed.channels.stored_blobs import StoredBlobs
from glowplug.distributed.checkpoints import remove_checkpoints
from glowplug.distributed.deploying import Deployed, deploy
from glowplug.distributed.errors import PlatformBusy, PlatformError, PlatformRefused, RunExists
from glowplug.distributed.faults import Faults, Kill
from glowplug.distributed.gang import Begin, Command, Gang, GoBack
from glowplug.distributed.local_platform import LocalPlatform
from glowplug.distributed.orders import FIRST
from glowplug.distributed.partition.baselines import block
from glowplug.distributed.partition.result import Settings
from glowplug.distributed.phases import Phases
from glowplug.distributed.platform import Ended, Event, Platform
from glowplug.distributed.platform_line import Launch, Response
from glowplug.distributed.run_options import RunOptions
from glowplug.distributed.runner import Run, run
from glowplug.distributed.start import Place, Start
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.serial import serial
from glowplug.policy.plans.tree import launch_tree
from tests.distributed.lambda_server import LambdaServer, lambda_server
from tests.distributed.nets import small_inputs

pytestmark = pytest.mark.e2e
LAYERS, SAMPLES, WORKERS = 6, 30, 3
NETWORK = ChallengeNetwork(1024, LAYERS)
ROLE = "arn:aws:iam::000000000000:role/glowplug"
LAYER = "arn:aws:lambda:us-east-1:000000000000:layer:packages:1"
OPTIONS = RunOptions(memory_bytes=2 * 2**30, deadline_s=120, branching=1)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret"), ("REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")


@pytest.fixture(scope="module")
def cloud() -> Iterator[tuple[str, LambdaServer]]:
    with lambda_server() as server:
        yield server


@pytest.fixture
def server(cloud: tuple[str, LambdaServer]) -> LambdaServer:
    cloud[1].calls.clear()
    cloud[1].answers.clear()
    cloud[1].left.clear()
    return cloud[1]


@pytest.fixture
def store(tmp_path: Path) -> str:
    (tmp_path / "store").mkdir()
    return f"file://{tmp_path / 'store'}"


def given(cloud: tuple[str, LambdaServer], store: str, role: str = ROLE) -> Cloudy:
    return Cloudy(store, role, cloud[0], "us-east-1", (LAYER,))


def a_run(platform: Callable[[Deployed], Platform], store: str, options: RunOptions = OPTIONS) -> Run:
    spread = assignment.rows(SAMPLES, block(NETWORK, Settings(WORKERS)))
    x = small_inputs(1024, SAMPLES)
    return run(NETWORK, x, spread, room("object", url=store), options, platform=platform)


def _calls(meter: Meter) -> int:
    return meter.puts + meter.gets + meter.lists


def left(store: str) -> list[Path]:
    return [path for path in Path(store.removeprefix("file://")).rglob("*") if path.is_file()]


def test_functions_launch_each_other_and_answer(
    cloud: tuple[str, LambdaServer], server: LambdaServer, store: str
) -> None:
    """Of a chain of launches the first is ours. Calls that are throttled are made again."""
    server.throttled = 2
    found = a_run(on_lambda(given(cloud, store), OPTIONS), store)
    assert np.array_equal(found.output, serial(NETWORK, small_inputs(1024, SAMPLES)))
    assert (found.invocations, found.restarts) == (WORKERS, 0)
    assert found.gib_s > 0
    assert [worker.place.worker for worker in found.workers] == [0, 1, 2]
    assert server.calls.count("POST invocations") == WORKERS
    server.rest()
    assert server.left == []
    told = {(each["MemorySize"], each["Timeout"], each["Role"]) for each in server.functions.values()}
    assert (2048, 120, ROLE) in told
    assert set(server.retries.values()) == {0}
    assert left(store) == []
    channel, ours = _calls(found.meter) - _calls(found.platform_meter), _calls(found.platform_meter)
    assert channel == pytest.approx(_calls(a_run(LocalPlatform, store).meter), abs=WORKERS)
    assert ours >= 2 + 2 * WORKERS + 3 * WORKERS, "what is brought, what each says and reads"


def test_a_function_that_is_there_is_taken_and_the_command_works(
    cloud: tuple[str, LambdaServer], server: LambdaServer, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        run_command(
            "sparse:1024x6", workers=(2,), plan="pipeline", micro_batches=2, samples=20, deadline="120s",
            checkpoint_layers=2, on="lambda", store=store, role=ROLE, endpoint=cloud[0], region="us-east-1",
            layer=(LAYER,), check=True, json=True,
        )  # fmt: skip
        shown: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert (shown["equal"], shown["invocations"]) == (True, 2)
    assert server.calls.count("POST") <= 1
    assert left(store) == []


def test_a_function_whose_making_was_cut_short_does_not_call_workers_again(
    cloud: tuple[str, LambdaServer], server: LambdaServer, store: str
) -> None:
    """It is there, and Lambda's own retries are on until somebody turns them off."""
    client = lambda_client(cloud[0], "us-east-1")
    package = Package(_empty_zip(), {})
    shape = Shape(role=ROLE, memory_mib=128, timeout_s=1, files_mib=512)
    blobs = StoredBlobs(store)
    server.refused = "event-invoke-config"
    with pytest.raises(PlatformRefused):
        ensure(client, package, shape, blobs, store)
    server.refused = ""
    assert server.calls.count("POST") == 1
    name = ensure(client, package, shape, blobs, store)
    assert server.calls.count("POST") == 1
    assert server.retries[name] == 0


def test_a_package_in_the_store_is_there_only_while_a_function_is_made_of_it(
    cloud: tuple[str, LambdaServer], server: LambdaServer
) -> None:
    pytest.importorskip("moto.server", reason="needs moto: pip install 'moto[s3]' flask flask-cors")
    import boto3

    from glowplug.bench.peers.aws_server import aws_server

    with aws_server() as endpoint:
        s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        s3.create_bucket(Bucket="bucket")
        server.read = lambda key: s3.get_object(Bucket="bucket", Key=key)["Body"].read()
        store = "s3://bucket/runs"
        blobs = StoredBlobs(store, endpoint=endpoint, region="us-east-1")
        shape = Shape(role=ROLE, memory_mib=128, timeout_s=2, files_mib=512)
        name = ensure(lambda_client(cloud[0], "us-east-1"), Package(_empty_zip(), {}), shape, blobs, store)
        assert server.functions[name]["Code"]["S3Key"].startswith("runs/packages/")
        assert blobs.list("packages") == []
        blobs.close()


def _empty_zip() -> bytes:
    content = io.BytesIO()
    zipfile.ZipFile(content, "w").close()
    return content.getvalue()


def test_what_a_window_checkpoints_lies_in_the_store(
    cloud: tuple[str, LambdaServer], store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes over runs elsewhere, with another disk."""
    monkeypatch.setattr("glowplug.distributed.deploying.IN_FLIGHT_BYTES", 1)
    kept: list[str] = []

    def removed(blobs: StoredBlobs, run: str) -> None:
        kept.append(blobs.url)
        remove_checkpoints(blobs, run)

    monkeypatch.setattr("glowplug.distributed.runner.remove_checkpoints", removed)
    run_command(
        "sparse:1024x6", workers=(2,), plan="pipeline", micro_batches=8, samples=20, deadline="120s",
        predict=False, on="lambda", store=store, role=ROLE, endpoint=cloud[0], region="us-east-1",
        layer=(LAYER,), json=True,
    )  # fmt: skip
    assert kept == [store]
    assert left(store) == []


def test_what_goes_wrong_in_a_function_is_told(
    cloud: tuple[str, LambdaServer], server: LambdaServer, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker reads its part from the store, and one of them finds it damaged."""
    monkeypatch.setattr("glowplug.distributed.aws_lambda.platform.LambdaPlatform", partial(_quick, 1.0))
    platform = on_lambda(given(cloud, store), OPTIONS)

    def damaging(deployed: Deployed) -> Platform:
        made = platform(deployed)
        (part,) = (path for path in left(store) if path.name == "0-1.part")
        part.write_bytes(part.read_bytes()[:-1])
        return made

    with pytest.raises(Exception, match=r"0-1.part is not a whole part"):
        a_run(damaging, store)
    server.close()
    assert not [path for path in left(store) if path.parts[-2] in ("words", "beats")]


def test_what_lambda_refuses_is_said(
    cloud: tuple[str, LambdaServer], server: LambdaServer, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PlatformError, match="The role cannot be assumed"):
        a_run(on_lambda(given(cloud, store, role="root"), OPTIONS), store)
    server.refuses = True
    with pytest.raises(PlatformRefused, match="Check the credentials"):
        a_run(on_lambda(given(cloud, store), OPTIONS), store)
    server.refuses = False
    monkeypatch.setattr("glowplug.distributed.aws_lambda.names.ATTEMPTS", 1)
    server.throttled = 1
    with pytest.raises(PlatformBusy, match="Rate exceeded"):
        a_run(on_lambda(given(cloud, store), OPTIONS), store)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(PlatformRefused, match="set AWS_ACCESS_KEY_ID"):
        a_run(on_lambda(given(cloud, store), OPTIONS), store)
    assert left(store) == []


def test_without_boto3_it_says_so(
    cloud: tuple[str, LambdaServer], store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(InvalidArguments, match=r"Lambda needs boto3 .*pip install 'glowplug\[distributed\]'"):
        on_lambda(given(cloud, store), OPTIONS)


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({"store": ""}, OPTIONS, "needs --store"),
        ({"role": ""}, OPTIONS, "needs --role"),
        ({}, RunOptions(memory_bytes=20 * 2**30), "Lambda has 128 to 10240 MiB"),
        ({}, RunOptions(memory_bytes=2**30, deadline_s=1000), "ends every function after 900 s"),
    ],
)
def test_what_lambda_does_not_have_is_refused(
    cloud: tuple[str, LambdaServer], change: dict[str, str], options: RunOptions, said: str
) -> None:
    with pytest.raises(InvalidArguments, match=said):
        on_lambda(given(cloud, "file:///tmp")._replace(**change), options)


def test_a_function_that_dies_is_replaced(
    cloud: tuple[str, LambdaServer], server: LambdaServer, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told of its end. Another begins at the last checkpoint, and gives the same bits."""
    options = msgspec.structs.replace(
        OPTIONS, faults=Faults(kills=(Kill(1, FIRST + 3),)), checkpoint_layers=2, checkpoints=store
    )
    monkeypatch.setattr("glowplug.distributed.aws_lambda.platform.LambdaPlatform", partial(_quick, 2.0))
    found = a_run(on_lambda(given(cloud, store), options), store, options)
    assert np.array_equal(found.output, serial(NETWORK, small_inputs(1024, SAMPLES)))
    assert found.restarts >= 1
    assert left(store) == []


def _quick(beat_s: float, cloud: Cloud, deployed: Deployed, blobs: StoredBlobs) -> LambdaPlatform:
    return LambdaPlatform(msgspec.structs.replace(cloud, beat_s=beat_s), deployed, blobs)


def test_a_run_whose_name_is_taken_leaves_the_other_alone(store: str, tmp_path: Path) -> None:
    """One worker has no channel that would tell."""
    spread = assignment.serial(NETWORK, SAMPLES)
    with room("memory").open("taken", 1) as opened:
        deployed = deploy(NETWORK, small_inputs(1024, SAMPLES), spread, opened.address, OPTIONS, tmp_path)
    nowhere = Cloud(client=None, function="", endpoint=None, region=None, branching=None)
    first = LambdaPlatform(nowhere, deployed, StoredBlobs(store))
    brought = left(store)
    with pytest.raises(RunExists, match="run 'taken' is open"):
        LambdaPlatform(nowhere, deployed, StoredBlobs(store))
    assert left(store) == brought
    first.close()
    assert left(store) == []


class Interrupted(StoredBlobs):
    """Who brings a run is interrupted when its orders are there, or another's, or when they are not yet."""

    def create(self, key: str, content: bytes) -> bool:
        if self.makes:
            super().create(key, content)
        raise KeyboardInterrupt

    makes = True


class AskedTwice(StoredBlobs):
    """The answer to who brings the orders is lost, so that the store is asked again."""

    def create(self, key: str, content: bytes) -> bool:
        super().create(key, content)
        return super().create(key, content)


def test_who_is_interrupted_removes_what_it_brought_and_nothing_else(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spread = assignment.serial(NETWORK, SAMPLES)
    with room("memory").open("halt", 1) as opened:
        deployed = deploy(NETWORK, small_inputs(1024, SAMPLES), spread, opened.address, OPTIONS, tmp_path)
    nowhere = Cloud(client=None, function="", endpoint=None, region=None, branching=None)
    with pytest.raises(KeyboardInterrupt):
        LambdaPlatform(nowhere, deployed, Interrupted(store))
    assert left(store) == []
    first = LambdaPlatform(nowhere, deployed, AskedTwice(store))
    brought = left(store)
    for makes in (True, False):
        monkeypatch.setattr(Interrupted, "makes", makes)
        with pytest.raises(KeyboardInterrupt):
            LambdaPlatform(nowhere, deployed, Interrupted(store))
    with pytest.raises(RunExists):
        LambdaPlatform(nowhere, deployed, AskedTwice(store))
    assert left(store) == brought
    first.close()
    assert left(store) == []


def test_who_was_let_go_ends_itself(store: str) -> None:
    """Another process may run as long as it likes: it reads that another took over."""
    baggage = Baggage(StoredBlobs(store), "run")
    baggage.call(Roll())
    for place, roll in ((Place("run", 1), Roll(0, {1: 1})), (Place("run", 2, 0, 1), Roll(1))):
        script = f"""
import time
from glowplug.distributed.aws_lambda.baggage import Baggage, Roll
from glowplug.distributed.aws_lambda.pulse import Pulse
from glowplug.distributed.channels.stored_blobs import StoredBlobs
from glowplug.distributed.start import Place, Start
Pulse(Baggage(StoredBlobs({store!r}), "run"), {place!r}, 0.05)
print(flush=True)
time.sleep(1000)
"""
        function = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert function.stdout is not None
        assert function.stdout.readline()
        assert function.poll() is None
        baggage.call(roll)
        try:
            assert function.wait(60) == 1
        finally:
            function.kill()
            function.communicate()


class Cloudless:
    """Takes events, and runs functions that do nothing but launch others and give signs; but for what is
    lost: the first event for each of these workers."""

    def __init__(self, store: str, lost: set[int]) -> None:
        self.alive: list[Place] = []
        self.writes: list[Place] = []
        self._store, self._lost = store, lost
        self.baggage = Baggage(StoredBlobs(store), "run")

    def invoke(self, *, Payload: bytes, **_: str) -> None:  # noqa: N803
        summons = msgspec.json.decode(Payload, type=Summons)
        self.baggage = Baggage(StoredBlobs(self._store), "run", summons.token)
        place, tree = summons.start.place, launch_tree(summons.workers, summons.branching)
        if place.worker in self._lost:
            self._lost.remove(place.worker)
            return
        self.alive.append(place)
        for worker in summons.start.launches:
            send(self, summons.of(worker, tuple(tree.children(worker)), summons.start.deadline_s))

    def beat(self, number: int) -> None:
        for place in self.alive:
            if self.baggage.wants(place):
                self.baggage.beat(place, number)


class Launched:
    """A gang on Lambda at a time of ours."""

    def __init__(self, store: str, folder: Path, workers: int, lost: set[int]) -> None:
        with room("memory").open("run", 1) as opened:
            spread = assignment.serial(NETWORK, SAMPLES)
            deployed = deploy(NETWORK, small_inputs(1024, SAMPLES), spread, opened.address, OPTIONS, folder)
        address = msgspec.structs.replace(deployed.orders.address, workers=workers)
        orders = msgspec.structs.replace(deployed.orders, address=address)
        self.functions = Cloudless(store, lost)
        self.gang = Gang("run", workers, 2)
        self.charged: dict[Place, float] = {}
        self._now_s = 0.0
        cloud = Cloud(client=self.functions, function="f", endpoint=None, region=None, branching=2)
        blobs = StoredBlobs(store)
        deployed = msgspec.structs.replace(deployed, orders=orders)
        self.platform = LambdaPlatform(cloud, deployed, blobs, lambda: self._now_s, self.sleep)
        self.obey(self.gang.start())

    def sleep(self, seconds: float) -> None:
        """What functions leave behind meanwhile."""
        self._now_s += seconds
        for place in self.functions.writes:
            self.functions.baggage.say(Word(place, None, 0.0))

    def obey(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Begin):
                self.platform.begin(
                    Start(orders="", place=command.place, launches=command.launches, deadline_s=600)
                )
            elif isinstance(command, GoBack):
                self.charge(self.platform.end_all())
                self.obey(self.gang.gone_back())
            else:
                raise AssertionError(command)

    def charge(self, events: list[Event]) -> None:
        self.charged |= {place: what.ran_s for place, what in events if isinstance(what, Ended)}

    def pass_by(self, beats: int) -> None:
        for number in range(beats):
            while events := self.platform.events(0):
                self.charge(events)
                for place, what in events:
                    match what:
                        case Launch(worker):
                            self.obey(self.gang.asked(worker))
                        case Ended(how):
                            self.obey(self.gang.lost(place, how))
            self.functions.beat(number)
            self._now_s += BEAT_S


def test_an_event_that_is_lost_costs_one_worker(store: str, tmp_path: Path) -> None:
    """Not also all those that it would have launched, directly or not."""
    run = Launched(store, tmp_path, 62, lost={0, 13})
    run.pass_by(30)
    assert run.gang.losses == 2
    assert sorted(place.worker for place in run.functions.alive) == list(range(62))
    assert {place.worker for place in run.functions.alive if place.incarnation} == {0, 13}
    run.platform.close()


def test_who_is_let_go_is_paid_for_until_it_looks(store: str, tmp_path: Path) -> None:
    run = Launched(store, tmp_path, 3, lost=set())
    run.pass_by(4)
    run.obey(run.gang.stuck(Place("run", 1), "waits"))
    assert run.charged == {Place("run", worker): 5 * BEAT_S for worker in range(3)}
    baggage = run.functions.baggage
    assert not any(baggage.wants(Place("run", worker)) for worker in range(3))
    assert all(baggage.wants(Place("run", worker, 1)) for worker in range(3))
    run.platform.close()
    assert not baggage.wants(Place("run", 0, 1))
    assert left(store) == []


def test_what_is_written_by_who_was_let_go_is_removed_too(store: str, tmp_path: Path) -> None:
    run = Launched(store, tmp_path, 3, lost=set())
    run.pass_by(4)
    run.functions.writes = [Place("run", worker) for worker in range(3)]
    assert len(run.platform.end_all()) == 3
    run.platform.close()
    assert left(store) == []


def test_a_worker_of_an_earlier_run_of_the_name_is_not_meant(store: str, tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    before = Launched(store, tmp_path / "before", 2, lost=set())
    theirs = before.functions.baggage
    assert theirs.wants(Place("run", 1))
    before.platform.close()
    after = Launched(store, tmp_path / "after", 2, lost=set())
    assert after.functions.baggage.wants(Place("run", 1))
    assert not theirs.wants(Place("run", 1))
    after.platform.close()


def test_who_stays_for_others_is_charged_until_it_leaves(store: str, tmp_path: Path) -> None:
    run = Launched(store, tmp_path, 3, lost=set())
    run.pass_by(1)
    stays, goes = (LambdaLine(run.functions.baggage, Place("run", worker), 0.0) for worker in (1, 2))
    stays.tell(response(1, keeps=True))
    goes.tell(response(2, keeps=False))
    run.charge(run.platform.events(0))
    assert set(run.charged) == {Place("run", 2)}
    stays.leave()
    goes.leave()
    run.charge(run.platform.events(0))
    assert set(run.charged) == {Place("run", 1), Place("run", 2)}
    run.platform.end_all()
    run.platform.close()
    assert left(store) == []


def test_who_tells_and_leaves_before_anybody_looks_is_heard(store: str, tmp_path: Path) -> None:
    """A store lists the second word before the first."""
    run = Launched(store, tmp_path, 2, lost=set())
    run.pass_by(1)
    line = LambdaLine(run.functions.baggage, Place("run", 1), 0.0)
    line.tell(response(1, keeps=True))
    line.leave()
    events = run.platform.events(0)
    assert [type(what) for place, what in events if place.worker == 1] == [Response, Ended]
    run.platform.end_all()
    run.platform.close()


def response(worker: int, *, keeps: bool) -> Response:
    return Response(
        place=Place("run", worker), phases=Phases().times(), worked_s=0.0, meter=Meter(), damaged=0,
        sent_again=0, checkpoint_bytes=0, peak_bytes=1, keeps=keeps,
    )  # fmt: skip


def test_who_gives_no_sign_is_lost(store: str) -> None:
    now_s = 0.0
    baggage = Baggage(StoredBlobs(store), "run")
    pulses = Pulses(baggage, beat_s=10, started_s=60, clock=lambda: now_s)
    early, late = Place("run", 0), Place("run", 1)
    baggage.beat(early, 0)
    assert pulses.lost([early, late], {}) == {}
    now_s = 30.0
    assert pulses.lost([early, late], {}) == {}
    now_s = 40.0
    assert pulses.lost([early, late], {}) == {early: "gave no sign for 30 s"}
    now_s = 50.0
    baggage.beat(early, 1)
    assert pulses.lost([early, late], {}) == {}
    now_s = 61.0
    assert pulses.lost([early, late], {}) == {late: "gave no sign for 60 s"}
