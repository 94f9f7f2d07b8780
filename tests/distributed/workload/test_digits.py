from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the distributed extra: pip install 'glowplug[distributed]'")
pytest.importorskip("numba", reason="needs the distributed extra: pip install 'glowplug[distributed]'")

from glowplug.distributed.workload.challenge import ChallengeNetwork
from glowplug.distributed.workload.digits import digits
from glowplug.distributed.workload.oracle import categories, oracle
from glowplug.distributed.workload.serial import serial


@pytest.mark.parametrize("neurons", [1024, 4096])
def test_a_tenth_of_the_pixels_is_set_and_no_sample_is_blank(neurons: int) -> None:
    x = digits(neurons, 300)
    assert x.shape == (neurons, 300)
    assert set(np.unique(x)) == {0, 1}
    assert 0.09 < x.mean() < 0.13
    assert x.any(axis=0).all()


def test_samples_vary_with_the_seed_and_not_with_their_number() -> None:
    assert np.array_equal(digits(1024, 300)[:, :7], digits(1024, 7))
    assert not np.array_equal(digits(1024, 7), digits(1024, 7, seed=1))
    assert len(np.unique(digits(1024, 300), axis=1).T) > 290


def test_a_digit_is_the_same_picture_at_every_size() -> None:
    small, large = digits(1024, 1).reshape(32, 32), digits(4096, 1).reshape(64, 64)
    assert small.any()
    assert large.any()


def test_the_challenge_gives_the_oracle_s_categories() -> None:
    """Sixteenths and a cap: fp32 rounds, but never past the bias."""
    network, x = ChallengeNetwork(1024, 40), digits(1024, 60)
    ours, exact = serial(network, x), oracle(network, x)
    assert np.array_equal(categories(ours), categories(exact))
    assert 0 < len(categories(ours)) < 60
    assert np.allclose(ours, exact, rtol=1e-5)
