"""Both forms of rows give back what they were given, and nothing else is taken for rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.distributed.errors import FrameError
from glowplug.distributed.frame import Kind, Payload
from glowplug.distributed.rows_in_flight import FORMS, opened, plain

forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


@forms
@given(seed=st.integers(0, 1000), many=st.integers(1, 5), samples=st.integers(1, 9))
def test_rows_come_back(form: object, seed: int, many: int, samples: int) -> None:
    rng = np.random.default_rng(seed)
    columns = np.flatnonzero(rng.random(samples) < 0.6)
    values = (rng.random((many, len(columns))) * (rng.random((many, 1)) < 0.6)).astype(np.float32)
    whole = np.zeros((many, samples), np.float32)
    whole[:, columns] = values
    block = opened(Payload(*form(values, columns, samples)), many, samples)  # type: ignore[operator]
    found = np.zeros_like(whole)
    found[np.ix_(block.rows, block.columns)] = block.values
    assert np.array_equal(found, whole)


@forms
def test_nothing_else_is_rows(form: object) -> None:
    values = np.ones((3, 2), np.float32)
    kind, body = form(values, np.array([0, 4]), 6)  # type: ignore[operator]
    for many, samples in ((2, 6), (3, 7), (3, 9)):
        with pytest.raises(FrameError):
            opened(Payload(kind, body), many, samples)
    for damaged in (b"", body[:-1], body[:8]):
        with pytest.raises(FrameError):
            opened(Payload(kind, damaged), 3, 6)


def test_a_bitmap_has_as_many_bits_as_it_says() -> None:
    kind, body = plain(np.ones((1, 2), np.float32), np.array([0, 4]), 6)
    damaged = body[:16] + bytes([body[16] | 0x40]) + body[17:]
    with pytest.raises(FrameError, match="bitmap of 3"):
        opened(Payload(kind, damaged), 1, 6)
    assert kind == Kind.BYTES
