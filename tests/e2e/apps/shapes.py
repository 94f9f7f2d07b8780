"""Functions that take and give all kinds of things, for tests of the server's description."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np

import glowplug

app = glowplug.App("shapes")


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0
    tags: list[str] | None = None


@app.function()
def add(a: int, b: int = 1) -> int:
    return a + b


@app.function()
def move(point: Point, how: Literal["up", "down"] = "up", by: float = 1.0) -> Point:
    return Point(point.x, point.y + (by if how == "up" else -by), point.tags)


@app.function()
def total(array: np.ndarray) -> float:
    return float(np.nan_to_num(array.astype(float)).sum())


@app.function()
def echo(value: Any) -> Any:
    return value


@app.function()
def count(data: bytes) -> int:
    return len(data)


@app.function()
def join(texts: list[str], by: str = "") -> str:
    return by.join(texts)


@app.function()
def table(rows: dict[str, list[Point]]) -> dict[str, int]:
    return {name: len(points) for name, points in rows.items()}
