"""The choice, the front, and why the others lost."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings

from glowplug.core.units import show_bytes, show_seconds
from glowplug.policy.plans.billing import Prices
from glowplug.policy.plans.chooser import (
    MEMORY_MIB,
    Choice,
    NothingFits,
    Objective,
    Terms,
    choose,
    memory_sizes,
    score_all,
)
from glowplug.policy.plans.facts import Problem
from glowplug.policy.plans.memory import whole_layers_bytes
from glowplug.policy.plans.model import DELAYS
from glowplug.policy.plans.score import MIB, Score, pareto
from tests.depth import examples
from tests.policy.plans.problems import problem, problems

PRICES = Prices(
    invocation=2e-7, function_gib_s=1.68e-5, publish=5e-7, published_byte=9e-11, queue_call=4e-7, put=5.3e-6,
    get=4.2e-7, listing=5.3e-6, server_hour={"c5.large": 0.085},
)  # fmt: skip


def terms(**given_terms: object) -> Terms:
    return Terms(
        prices=PRICES,
        delays=DELAYS["hop-20ms"],
        workers=(1, 2, 4),
        channels=("queue", "object"),
        **given_terms,
    )


def why(choice: Choice, name: str) -> str:
    return next(lost.why for lost in choice.lost if lost.name == name)


@settings(max_examples=examples(5), deadline=None)
@given(problems)
def test_nothing_allowed_is_better_than_the_choice(given_problem: Problem) -> None:
    for objective in (Objective(), Objective("fastest")):
        asked = terms(objective=objective)
        choice = choose(given_problem, asked)
        everything, _ = score_all(given_problem, asked)
        best = min(objective.worth(each) for each in everything)
        assert objective.worth(choice.chosen) == best
        assert choice.chosen in choice.front or objective.name == "cheapest"


@settings(max_examples=examples(5), deadline=None)
@given(problems)
def test_the_front_has_what_nothing_beats_in_both(given_problem: Problem) -> None:
    everything, _ = score_all(given_problem, terms())
    front = pareto(everything)
    assert [each.total_s for each in front] == sorted(each.total_s for each in front)
    assert [each.usd for each in front] == sorted((each.usd for each in front), reverse=True)
    for each in everything:
        beaten = any(one.total_s <= each.total_s and one.usd <= each.usd for one in front)
        assert beaten


def test_rows_go_through_the_root_for_who_wants_them_cheap() -> None:
    wide = problem(layers=12, rows=256, samples=3000, workers=(20,))
    asked = msgspec.structs.replace(terms(), workers=(20,), channels=("queue",), plans=("rows",))
    choice = choose(wide, asked)
    assert choice.chosen.name == "rows 20 queue relayed"
    assert why(choice, "rows 20 queue").endswith("faster")
    fastest = choose(wide, msgspec.structs.replace(asked, objective=Objective("fastest"))).chosen
    assert fastest.name == "rows 20 queue"
    assert choice.chosen.usd < 0.7 * fastest.usd


def test_a_deadline_makes_the_choice_faster_and_a_budget_cheaper() -> None:
    large = problem(layers=12, rows=256, samples=3_000_000)
    cheapest = choose(large, terms()).chosen
    fastest = choose(large, terms(objective=Objective("fastest"))).chosen
    assert fastest.total_s < cheapest.total_s
    assert fastest.usd > cheapest.usd
    deadline_s = 1.1 * fastest.total_s
    within = choose(large, terms(objective=Objective("cheapest", deadline_s=deadline_s)))
    assert fastest.usd >= within.chosen.usd > cheapest.usd
    assert within.chosen.total_s <= deadline_s
    assert any(f"the deadline is {show_seconds(deadline_s)}" in lost.why for lost in within.lost)
    budget_usd = (cheapest.usd + fastest.usd) / 2
    chosen = choose(large, terms(objective=Objective("fastest", budget_usd=budget_usd))).chosen
    assert chosen.usd <= budget_usd
    assert chosen.total_s > fastest.total_s


def test_what_needs_too_much_memory_lost_by_bytes() -> None:
    large = problem(layers=100, rows=256)
    tight = msgspec.structs.replace(large.machine, runtime_bytes=0)
    limited = msgspec.structs.replace(large, machine=tight)
    choice = choose(limited, terms(memory_per_worker_bytes=1_500_000))
    assert choice.chosen.plan != "serial"
    need = whole_layers_bytes(large.workload.layers, 256, 500)
    assert why(choice, "serial") == f"needs {show_bytes(need)}, limit is 1.5 MB"


def test_others_lost_by_how_much() -> None:
    choice = choose(problem(), terms())
    lost = {each.name: each for each in choice.lost}
    assert "dearer" in lost["rows 4 queue"].why
    assert lost["rows 4 queue"].score is not None
    assert choice.chosen.name not in lost


def test_nothing_fits_and_says_what_would() -> None:
    with pytest.raises(NothingFits, match=r"serial needs .* limit is 1.0 kB"):
        choose(problem(), terms(memory_per_worker_bytes=1000))
    with pytest.raises(NothingFits, match=r"a deadline of 1 us; the fastest, .* takes"):
        choose(problem(), terms(objective=Objective("cheapest", deadline_s=1e-6)))
    with pytest.raises(NothingFits, match=r"a budget of \$1e-12; .*the cheapest, .* costs"):
        choose(problem(), terms(objective=Objective("fastest", budget_usd=1e-12)))


@pytest.mark.parametrize(
    ("plan", "workers", "said"),
    [
        ("serial", 4, "serial has one worker, not 4"),
        ("rows", 1, "at least two"),
        ("hybrid", 2, "no two groups"),
    ],
)
def test_what_goes_without_saying_is_said_where_nothing_else_is(plan: str, workers: int, said: str) -> None:
    asked = msgspec.structs.replace(terms(), plans=(plan,), workers=(workers,))
    with pytest.raises(NothingFits, match=said):
        choose(problem(), asked)


def test_memory_is_given_from_what_is_needed_up_to_one_vcpu_a_thread() -> None:
    limit = MEMORY_MIB[-1] * MIB
    assert memory_sizes(1, limit, 1) == [256, 512, 1024, 1769]
    assert memory_sizes(600 * MIB, limit, 1) == [1024, 1769]
    assert memory_sizes(2000 * MIB, limit, 1) == [3538]
    assert memory_sizes(600 * MIB, limit, 2) == [1024, 1769, 3538]
    assert memory_sizes(1500 * MIB, 1600 * MIB, 1) == [1600]


def test_a_score_is_found_again_by_name() -> None:
    choice = choose(problem(), terms())
    assert isinstance(choice.chosen, Score)
    assert choice.chosen.memory_bytes <= choice.chosen.memory_mib * MIB
    assert choice.chosen.usd == pytest.approx(sum(choice.chosen.bill.values()))
