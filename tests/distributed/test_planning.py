"""What a planner is told of networks: counts against counting by hand, sizes against encoding everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug.core.errors import InvalidArguments
from glowplug.distributed import assignment
from glowplug.distributed.calibration import calibrate, codec_costs
from glowplug.distributed.codec import encode_rows
from glowplug.distributed.deploying import _is_heavy
from glowplug.distributed.facts import partition_facts, stages
from glowplug.distributed.network import Network
from glowplug.distributed.partition.methods import partition as cut
from glowplug.distributed.partition.result import Partition, sends
from glowplug.distributed.planning import Head, followed, look, looked_at_first, surveyed
from glowplug.distributed.survey import survey
from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.digits import digits
from glowplug.distributed.workload.serial import serial
from glowplug.policy.plans.facts import Encoding
from glowplug.policy.plans.model import MachineModel
from glowplug.policy.plans.pipeline import staged
from glowplug.policy.plans.rows import by_rows
from tests.depth import examples
from tests.distributed.nets import dense_network, small_inputs
from tests.distributed.networks import inputs, networks

pytest.importorskip("numba", reason="pip install 'glowplug[distributed]'")
MACHINE = MachineModel(rates=((1.0, 1e9),))


def by_hand(network: Network, partition: Partition, index: int, worker: int) -> tuple[int, int, int, int]:
    """(edges, those of rows that wait and are waited for, that wait only, those that read what was sent)."""
    layer, owners = network.layer(index), partition.owners[index]
    wanted: set[int] = set()
    if index + 1 < network.layers:
        crossing = sends(network.layer(index + 1), owners, partition.owners[index + 1], partition.workers)
        wanted = {int(row) for rows in crossing.values() for row in rows}
    found = [0, 0, 0, 0]
    for row in np.flatnonzero(owners == worker):
        reads = layer.indices[layer.indptr[row] : layer.indptr[row + 1]]
        away = [bool(index) and partition.sources(index)[read] != worker for read in reads]
        found[0] += len(reads)
        found[1] += len(reads) * (any(away) and int(row) in wanted)
        found[2] += len(reads) * (any(away) and int(row) not in wanted)
        found[3] += sum(away)
    return found[0], found[1], found[2], found[3]


@settings(max_examples=examples(30), deadline=None)
@given(networks(narrowest=3), st.integers(1, 3), st.integers(0, 9))
def test_facts_of_a_partition_are_counted_right(network: Network, workers: int, seed: int) -> None:
    partition = cut(network, workers, "random", seed=seed)
    facts = partition_facts(network, partition, [Encoding()] * network.layers)
    facts.validate()
    assert facts.rows_sent == sum(partition.rows_sent[1:])
    for index in range(network.layers):
        for worker in range(workers):
            counted = (
                facts.edges[index, worker], facts.urgent_edges[index, worker],
                facts.late_edges[index, worker], facts.remote_edges[index, worker],
            )  # fmt: skip
            assert counted == by_hand(network, partition, index, worker)
    assert facts.result_rows.sum() == network.rows(network.layers - 1)
    assert facts.weights_bytes.sum() == network.weights_bytes - 8 * network.layers


@settings(max_examples=examples(20), deadline=None)
@given(st.data())
def test_stages_are_what_one_worker_computes(data: st.DataObject) -> None:
    network = data.draw(networks())
    x = data.draw(inputs(network))
    last = None
    for stage in stages(network, x):
        assert 0 <= stage.live <= 1
        last = stage
    assert last is not None
    there, values = last.rows(np.arange(network.rows(network.layers - 1), dtype=np.int32))
    whole = serial(network, x)
    assert np.array_equal(whole[there], values)
    assert not np.delete(whole, there, axis=0).any()


def test_sizes_of_messages_follow_from_some_of_them() -> None:
    network, x = ChallengeNetwork(1024, 8), digits(1024, 1200)
    partition = cut(network, 4, "block")
    seen = survey(network, np.ascontiguousarray(x[:, :600]), {4: partition}, looked_at=12)
    for stage in stages(network, x):
        if stage.index + 1 == network.layers:
            break
        crossing = sends(
            network.layer(stage.index + 1),
            partition.owners[stage.index],
            partition.owners[stage.index + 1],
            4,
        )
        exact = told = 0.0
        for rows in crossing.values():
            there, values = stage.rows(rows)
            exact += len(encode_rows(there, values)) if len(there) else 0
            told += seen.messages[4][stage.index].nbytes(float(len(rows)), 1200)
        assert told == pytest.approx(exact, rel=0.15)


def test_a_head_is_the_first_layers() -> None:
    network = ChallengeNetwork(1024, 30)
    head = Head(network, 5)
    assert (head.layers, head.inputs, head.rows(4), head.edges(4)) == (5, 1024, 1024, 32768)
    assert np.array_equal(head.layer(4).indices, network.layer(4).indices)
    assert head.digest != network.digest == Head(network, 30).digest
    with pytest.raises(InvalidArguments, match="1 to all"):
        Head(network, 31)


@given(st.integers(1, 40), st.integers(1, 400))
def test_every_layer_is_stood_for(head: int, layers: int) -> None:
    chosen = followed(min(head, layers), layers)
    assert len(chosen) == layers
    assert chosen[-1] == min(head, layers) - 1
    assert all(0 <= index < min(head, layers) for index in chosen)
    if layers <= head:
        assert chosen == list(range(layers))


def test_a_head_tells_of_the_whole() -> None:
    network, x = ChallengeNetwork(1024, 24), digits(1024, 256)
    whole = surveyed(network, x, 1000, MACHINE, {4: cut(network, 4, "block")}, head=24)
    head = surveyed(network, x, 1000, MACHINE, {4: cut(Head(network, 16), 4, "block")}, head=16)
    assert head.workload.weights_bytes == whole.workload.weights_bytes
    assert head.workload.edges == whole.workload.edges
    told, counted = head.partitions[4], whole.partitions[4]
    told.validate()
    assert told.rows_sent == pytest.approx(counted.rows_sent, rel=0.02)
    assert told.weights_bytes.sum() == pytest.approx(counted.weights_bytes.sum(), rel=1e-6)


def test_layers_behind_the_head_that_are_not_alike_are_all_looked_at() -> None:
    alike, other = dense_network((4,) * 9), dense_network((4,) * 8 + (2,))
    assert [looked_at_first(alike, head) for head in (3, 8, 20)] == [3, 8, 8]
    assert looked_at_first(other, 3) == 8
    whole = surveyed(other, small_inputs(4, 10), 10, MACHINE, {}, head=3).workload
    assert whole.edges == other.total_edges
    assert whole.layers[-1].rows == 2


def test_looking_keeps_partitions_and_takes_no_more_workers_than_rows(tmp_path: Path) -> None:
    pytest.importorskip("mtkahypar", reason="pip install 'glowplug[distributed]'")
    network, x = ChallengeNetwork(1024, 4), digits(1024, 64)
    told: list[str] = []
    problem = look(network, x, 1000, MACHINE, (1, 2, 5000), tmp_path, tell=told.append)
    assert sorted(problem.partitions) == [2]
    assert told == ["cutting rows over 2 workers", "running some samples"]
    assert len(list(tmp_path.iterdir())) == 1
    again = look(network, x, 1000, MACHINE, (2,), tmp_path)
    assert np.array_equal(again.partitions[2].sent, problem.partitions[2].sent)


def test_without_whole_layers_no_plan_can_be_made_of_them() -> None:
    network, x = ChallengeNetwork(1024, 4), digits(1024, 64)
    partitions = {4: cut(network, 4, "block")}
    whole = surveyed(network, x, 1000, MACHINE, partitions)
    rows = surveyed(network, x, 1000, MACHINE, partitions, with_whole=False)
    assert rows.partitions[4].messages == whole.partitions[4].messages
    assert rows.workload.layers[0].output.nbytes(1.0, 1) == float("inf")


@pytest.mark.parametrize("samples", [1_000, 5_000, 20_000])
def test_who_plans_and_who_deploys_agree_on_what_is_heavy(samples: int) -> None:
    network = ChallengeNetwork(1024, 8)
    blocks = cut(network, 4, "block")
    problem = surveyed(network, digits(1024, 16), samples, MACHINE, {4: blocks})
    cases = [
        (by_rows(problem, problem.partitions[4]), assignment.rows(samples, blocks)),
        (staged(problem, 4, 4), assignment.pipeline(network, samples, (2, 4, 6), 4)),
    ]
    assert [_is_heavy(network, made) for _, made in cases] == [planned.beside for planned, _ in cases]
    assert [planned.beside for planned, _ in cases] == [samples == 20_000] * 2


def test_whole_layers_are_measured_apart() -> None:
    found = calibrate(ChallengeNetwork(1024, 3), repeats=1)
    encode, decode = found.codec(whole=True)
    assert encode.seconds(1.0, 1e6, 1e6, 1e4) > 0
    assert decode.seconds(1.0, 1e6, 1e6, 1e4) > 0
    assert found.codec(whole=False) == (found.encode, found.decode)
    assert MACHINE.codec(whole=True) == (MACHINE.encode, MACHINE.decode)


def test_codecs_are_measured_by_message_and_value() -> None:
    slow: list[int] = []

    def encode(rows: object, values: np.ndarray) -> bytes:  # type: ignore[type-arg]
        slow.append(values.size)
        return b"x"

    costs = codec_costs(encode, lambda body, rows, samples: body, repeats=1)
    assert all(part >= 0 for cost in costs for part in (cost.message_s, cost.value_s, cost.live_value_s))
    assert set(slow) == {4 * 512, 4 * 4096, 32 * 512, 32 * 4096}
