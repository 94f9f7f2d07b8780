"""How long a worker lets a layer's messages gather, by what it saw of the layers before."""

from __future__ import annotations

import pytest

from glowplug.distributed.channels.patience import Patience


def waits(last_s: list[float], *, alone: bool = False) -> list[float]:
    """How long each layer is waited for whose last message comes after so long, one layer a second."""
    patience, found = Patience(), []
    for layer, came_s in enumerate(last_s):
        assert patience.begins((0, layer), float(layer), alone=alone)
        assert not patience.begins((0, layer), layer + 0.5)
        found.append(patience.poll_at_s - layer)
        patience.came(layer + max(came_s, found[-1]), late=came_s > found[-1])
    return found


def test_a_layer_like_those_before_is_waited_for_until_it_is_nearly_there() -> None:
    assert waits([0.1] * 6) == pytest.approx([0.0, 0.0, 0.08, 0.08, 0.08, 0.08])


def test_who_came_late_once_is_not_waited_for() -> None:
    assert waits([0.1, 0.1, 0.1, 0.9, 0.1, 0.1])[3:] == pytest.approx([0.08, 0.08, 0.08])
    assert waits([0.9, 0.1, 0.1, 0.1]) == pytest.approx([0.0, 0.0, 0.08, 0.08]), "as all are that start late"


def test_who_is_late_again_is() -> None:
    assert waits([0.1, 0.1, 0.3, 0.3, 0.3])[3:] == pytest.approx([0.08, 0.24])


def test_a_wait_that_was_long_enough_becomes_shorter() -> None:
    assert waits([0.5, 0.5, 0.5, 0.1, 0.1])[2:] == pytest.approx([0.4, 0.4, 0.32])


def test_what_one_source_sends_gathers_nothing() -> None:
    assert waits([0.1] * 4, alone=True) == [0.0] * 4
