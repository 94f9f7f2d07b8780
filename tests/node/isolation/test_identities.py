"""Users: nobody has one of another's, whatever comes and goes."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.node.isolation import identities
from glowplug.node.isolation.identities import FUNCTIONS, RANGE, Identities, IdsExhausted, claim_block

STEPS = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(["", "f", "g", "h"]), st.booleans()))


@given(STEPS)
def test_no_two_share_a_user(steps: list[tuple[str, str, bool]]) -> None:
    """`steps` ask for users of functions, and release whole environments."""
    known = Identities(1000, 4 * RANGE)
    users: dict[tuple[str, str], int] = {}
    for key, function, release in steps:
        if release:
            known.release(key)
            users = {who: user for who, user in users.items() if who[0] != key}
            continue
        try:
            first = known.environment(key)
        except IdsExhausted:
            assert len({who[0] for who in users}) == 4
            continue
        users[key, ""] = first
        if function:
            users[key, function] = first + known.function(key, function)
        assert len(set(users.values())) == len(users)
        assert all(1000 <= user < 1000 + 4 * RANGE for user in users.values())


def test_who_comes_next_does_not_get_the_users_of_who_just_left() -> None:
    """Of those something may still be ending."""
    known = Identities(0, 4 * RANGE)
    first = known.environment("a")
    known.release("a")
    others = {known.environment(key) for key in "bcd"}
    assert first not in others
    assert known.environment("e") == first


def test_an_environment_with_too_many_functions() -> None:
    known = Identities(0, RANGE)
    for number in range(FUNCTIONS - 1):
        known.function("a", str(number))
    with pytest.raises(IdsExhausted, match="restart it"):
        known.function("a", "one more")


def test_who_waits_for_a_function_has_a_user_that_no_function_ever_has() -> None:
    known = Identities(0, RANGE)
    functions = {known.function("a", str(number)) for number in range(FUNCTIONS - 1)}
    first, second = known.stranger("a"), known.stranger("a")
    known.give_back("a", first)
    third = known.stranger("a")
    assert len({first, second, third}) == 3, "it is not given again at once"
    for _ in range(RANGE - FUNCTIONS - 2):
        known.stranger("a")
    assert first not in functions
    with pytest.raises(IdsExhausted, match="wait for a function"):
        known.stranger("a")
    known.give_back("a", second)
    assert known.stranger("a") == second


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only it gives users away")
def test_two_agents_never_have_the_same_block() -> None:
    held = [claim_block("same") for _ in range(3)]
    try:
        assert len({first for first, _ in held}) == 3
        assert all(first >= identities._FIRST for first, _ in held)
    finally:
        for _, descriptor in held:
            os.close(descriptor)
