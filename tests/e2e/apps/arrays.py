"""Functions that treat the array they are given in every way that there is."""

from __future__ import annotations

import numpy as np

import glowplug

app = glowplug.App("arrays")
kept: list[np.ndarray] = []


@app.function(libraries=["numpy"])
def total(array: np.ndarray) -> float:
    return float(array.sum())


@app.function(libraries=["numpy"])
def negate(array: np.ndarray) -> np.ndarray:
    """Writes to its argument, and answers with it."""
    np.negative(array, out=array)
    return array


@app.function(libraries=["numpy"])
def keep(array: np.ndarray) -> list[float]:
    """The first number of all that were ever given, of which a view is kept."""
    kept.append(array.reshape(-1)[:10])
    return [float(each[0]) for each in kept]
