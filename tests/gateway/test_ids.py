"""Request ids of gateways beside each other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from glowplug.gateway.flight import Place, new_request_ids

TIMES = st.floats(1.75e9, 2.5e9)


@given(st.integers(1, 64), st.lists(TIMES, min_size=1, max_size=5))
def test_no_two_gateways_give_the_same(count: int, starts_s: list[float]) -> None:
    """Whenever each was started: modulo their count ids are their gateway's number."""
    seen: set[int] = set()
    for number in range(count):
        following = new_request_ids(starts_s[number % len(starts_s)], Place(number, count))
        ids = [following() for _ in range(5)]
        assert {request % count for request in ids} == {number}
        assert ids == sorted(ids)
        assert 0 < ids[0] < ids[-1] < 2**53
        seen.update(ids)
    assert len(seen) == 5 * count


@given(TIMES, st.integers(1, 64), st.integers(1, 64))
def test_none_that_an_earlier_one_gave(start_s: float, before: int, after: int) -> None:
    """Also when there were more, or fewer, beside it."""
    earlier = [new_request_ids(start_s, Place(number, before))() for number in range(before)]
    later = [new_request_ids(start_s + 0.2, Place(number, after))() for number in range(after)]
    assert max(earlier) < min(later)


def test_one_alone_gives_each_number() -> None:
    following = new_request_ids(1.8e9)
    first = following()
    assert [following() for _ in range(3)] == [first + 1, first + 2, first + 3]
