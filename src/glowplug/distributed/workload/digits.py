"""Inputs of the challenge: scikit-learn's digits in place of MNIST's, drawn into frames of N pixels, black
or white.

The samples vary by seed: which of the 1,797 digits, a shift of up to a sixteenth of the frame's side both
ways, and the threshold, which makes strokes thick or thin. As in MNIST a digit fills about 0.7 of the side.
A tenth of the pixels is set, as in the challenge's files (recalled), so that some samples die out in the
layers and some saturate.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from glowplug.distributed.network import Floats

SAMPLES = 10_000
_SCANNED = 8  # sklearn's digits are 8 x 8, 0 to 16
INK = (8, 12)
_BATCH = 256

Whole = NDArray[np.int64]
Numbers = NDArray[np.float64]


def digits(neurons: int, samples: int = SAMPLES, seed: int = 0, ink: tuple[int, int] = INK) -> Floats:
    """(neurons, samples), 0 or 1; the same bits on every machine, and the first of many samples are those
    of few. `ink` is the range of thresholds, of 16: the higher, the thinner the strokes, and the fewer
    samples come through the layers.

    Needs scikit-learn.
    """
    side = round(neurons**0.5)
    box = side * 23 // 32
    choice, place, strokes = np.random.default_rng((seed, neurons)).spawn(3)
    which = choice.integers(len(_scans()), size=samples)
    reach = side // 16
    corners = (side - box) // 2 + place.integers(-reach, reach + 1, size=(samples, 2))
    thresholds = strokes.integers(*ink, size=samples, endpoint=True)
    pixels = np.empty((neurons, samples), np.float32)
    for start in range(0, samples, _BATCH):
        batch = slice(start, start + _BATCH)
        tall, wide = (_stretch(corners[batch, axis], side, box) for axis in (0, 1))
        drawn = tall @ _scans()[which[batch]] @ wide.transpose(0, 2, 1)
        white = drawn > (thresholds[batch] * (2 * box) ** 2)[:, None, None]
        pixels[:, batch] = white.reshape(len(white), neurons).T
    return pixels


def _stretch(corners: Whole, side: int, box: int) -> Numbers:
    """(samples, side, 8): the weight of a scanned line in a line of the frame, times 2 * box; bilinear.

    Whole numbers, as all that is reckoned here: fp64 holds them exactly, in whichever order they are added.
    """
    lines = np.arange(side)
    at = (2 * lines + 1 - 2 * corners[:, None]) * _SCANNED - box  # in scanned lines, times 2 * box
    before, share = np.divmod(at, 2 * box)
    weights = np.zeros((len(corners), side, _SCANNED))
    for scanned in range(_SCANNED):
        weights[:, :, scanned] = (before == scanned) * (2 * box - share) + (before == scanned - 1) * share
    return weights


@cache
def _scans() -> Numbers:
    from sklearn.datasets import load_digits

    return np.asarray(load_digits().images, np.float64)
