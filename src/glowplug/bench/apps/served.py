"""What experiment `gateway` serves besides the examples: functions that take no time of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

import glowplug

app = glowplug.App("served")


@app.function(keep_warm="1h")
def echo(text: str, number: int) -> dict[str, Any]:
    return {"text": text, "number": number}


@app.function(keep_warm="1h", libraries=["numpy"])
def tensor(tensor: np.ndarray) -> dict[str, Any]:
    return {"shape": list(tensor.shape), "sum": float(tensor.sum())}
