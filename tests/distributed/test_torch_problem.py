"""A torch model's chain of blocks is planned as layers are."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

torch = pytest.importorskip("torch", reason="needs the torch extra")
from torch import nn  # noqa: E402

from glowplug.core.errors import InvalidArguments  # noqa: E402
from glowplug.distributed.chains import module_bytes  # noqa: E402
from glowplug.distributed.prices import price_table  # noqa: E402
from glowplug.distributed.torch_problem import RUNTIME_BYTES, torch_survey  # noqa: E402
from glowplug.policy.plans.chooser import CHANNELS, Terms, choose  # noqa: E402
from glowplug.policy.plans.critical_path import timings  # noqa: E402
from glowplug.policy.plans.hybrid import Hybrid  # noqa: E402
from glowplug.policy.plans.model import DELAYS  # noqa: E402
from glowplug.policy.plans.pipeline import Pipeline  # noqa: E402
from glowplug.policy.plans.replicas import Replicas  # noqa: E402
from glowplug.policy.plans.serial import Serial  # noqa: E402

pytestmark = pytest.mark.torch
WIDTH, BLOCKS, TOKENS = 512, 6, 2


def block() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))


def model() -> nn.Module:
    return nn.Sequential(nn.Embedding(50, WIDTH), *(block() for _ in range(BLOCKS)))


def test_layers_are_the_blocks_and_what_is_in_none() -> None:
    net, tokens = model(), torch.arange(TOKENS)[None]
    facts = torch_survey("net", net, lambda: net(tokens), 100, tokens.nbytes).problem.workload
    assert facts.weights_bytes == module_bytes(net)
    assert facts.edges == TOKENS * 2 * 4 * WIDTH * WIDTH * BLOCKS
    hands_on = [layer.rows for layer in facts.layers]
    assert len(hands_on) > BLOCKS, "and what is in the last of them"
    assert hands_on[:BLOCKS] == [TOKENS * WIDTH] * BLOCKS


def test_it_is_cut_where_one_worker_cannot_hold_it() -> None:
    net, tokens = model(), torch.arange(TOKENS)[None]
    problem = torch_survey("net", net, lambda: net(tokens), 64, tokens.nbytes).problem
    terms = Terms(prices=price_table().prices(), delays=DELAYS["hop-20ms"], workers=(1, 2, 3))
    choice = choose(problem, terms)
    tried = {each.plan for each in choice.front} | {each.name.split()[0] for each in choice.lost}
    assert {"serial", "replicas", "pipeline"} <= tried
    room = RUNTIME_BYTES + module_bytes(net) * 2 // 3
    assert choose(problem, replace(terms, memory_per_worker_bytes=room)).chosen.plan == "pipeline"


def test_slower_processors_take_longer() -> None:
    net, tokens, threads = model(), torch.arange(TOKENS)[None], torch.get_num_threads()
    one = torch_survey("net", net, lambda: net(tokens), 64, tokens.nbytes, slowdown=3.0).problem
    assert one.machine.stretch(1769) == 3.0
    assert torch.get_num_threads() == threads


def test_a_model_without_weights_is_refused() -> None:
    net = nn.Sequential(nn.ReLU(), nn.ReLU())
    with pytest.raises(InvalidArguments, match="could count by"):
        torch_survey("net", net, lambda: net(torch.ones(3)), 10, 12)


def test_a_long_input_takes_what_passes_between_blocks_and_no_kernel_of_ours() -> None:
    net, tokens = model(), torch.arange(50).repeat(8)[None]
    problem = torch_survey("net", net, lambda: net(tokens), 1000, tokens.nbytes).problem
    (serial,) = Serial().spreads(problem, 1)
    widest = 4 * WIDTH * tokens.numel()
    assert serial.memory_bytes == module_bytes(net) + 2 * 4 * widest
    assert serial.shares[0].load_bytes == module_bytes(net) + tokens.nbytes
    (pipeline,) = Pipeline().spreads(problem, 2)
    assert pipeline.cut.micro_batches == 1000
    assert max(share.memory_bytes for share in pipeline.shares) < serial.memory_bytes


def test_each_sample_comes_back_to_the_head_of_its_pipeline() -> None:
    """Which does not wait for it, but for the last one: that is the end."""
    net, tokens = model(), torch.arange(TOKENS)[None]
    problem = torch_survey("net", net, lambda: net(tokens), 10, tokens.nbytes).problem
    (spread,) = Pipeline().spreads(problem, 3)
    spread.validate()
    assert len(spread.transfers) == 10 * 3
    assert spread.returns.sum() == 9
    for channel in ("shared_memory", "nats", "object", "queue"):
        exchange = CHANNELS[channel].exchange(spread, DELAYS["hop-20ms"])
        (when,) = timings(spread, exchange, problem.machine, DELAYS["hop-20ms"], [1769])
        assert when.total_s > spread.compute_s.max()
        assert exchange.calls >= 30
        assert (when.receive_calls > 0) == (channel in ("object", "queue"))
    for twice in Hybrid().spreads(problem, 6):
        twice.validate()


def test_what_replicas_gather_is_what_the_model_returns() -> None:
    net, tokens = nn.Sequential(model(), nn.Linear(WIDTH, 2)), torch.arange(TOKENS)[None]
    problem = torch_survey("net", net, lambda: net(tokens), 10, tokens.nbytes).problem
    (spread,) = Replicas().spreads(problem, 2)
    assert 5 * TOKENS * 2 * 4 < spread.transfers.nbytes.sum() < 5 * (TOKENS * 2 * 4 + 200)
