from __future__ import annotations

import pytest

from glowplug.core.priority import AS_DECLARED, LABELS, Priority, parse_priority, rank_of


def test_a_class_is_read_by_its_name_or_its_rank() -> None:
    assert [parse_priority(text) for text in ("interactive", " Batch ", "BACKGROUND")] == [3, 2, 1]
    assert [parse_priority(text) for text in ("3", "2", "1", "0")] == [3, 2, 1, AS_DECLARED]


@pytest.mark.parametrize("text", ["", "urgent", "4", "-1", "1.0", "x" * 500])
def test_any_other_word_is_refused_with_those_that_exist(text: str) -> None:
    with pytest.raises(ValueError, match="interactive, batch, background") as refused:
        parse_priority(text)
    assert len(str(refused.value)) < 250


def test_labels_name_every_class_the_highest_first() -> None:
    assert [rank_of(label) for label in LABELS] == sorted(Priority, reverse=True)
    with pytest.raises(ValueError, match="batch"):
        rank_of("urgent")
