"""Workloads by the text that names them."""

from __future__ import annotations

import pytest

from glowplug.core.errors import InvalidWorkload
from glowplug.sim.workloads.registry import KINDS, make_trace, parse, settings_of


def test_settings_are_given_by_name() -> None:
    workload, seed = parse("zipf:functions=7, s=1.5 ,seed=3")
    assert workload == type(workload)(functions=7, s=1.5)
    assert seed == 3
    assert parse("zipf")[1] is None


def test_a_seed_in_the_text_goes_first() -> None:
    named = make_trace("zipf:seed=4", seed=9)
    assert list(named.events()) == list(make_trace("zipf", seed=4).events())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("zip", "no workload is called 'zip'; there are .*zipf"),
        ("zipf:function=3", "zipf has no function; there are functions, "),
        ("zipf:s=x", "Expected `float`.*`s`"),
        ("zipf:functions=0", ">= 1.*`functions`"),
        ("zipf:rate_per_min=inf", "<= 1000000000.0.*`rate_per_min`"),
        ("zipf:rate_per_min=nan", "`rate_per_min`"),
        ("zipf:3", "'3' sets nothing; write NAME=VALUE"),
        ("zipf:s=1,s=2", "s is set twice"),
        ("zipf:seed=x", "seed=x is not a whole number"),
        ("azure2019", "needs a path, as in azure2019:PATH,top=35"),
        ("azure2019:p,spread=odd", "Invalid enum value 'odd'.*`spread`"),
    ],
)
def test_what_makes_no_sense_is_named(text: str, said: str) -> None:
    with pytest.raises(InvalidWorkload, match=said):
        parse(text)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_setting_of_every_kind_is_described(kind: str) -> None:
    assert all(about for _, about in settings_of(kind).values())
