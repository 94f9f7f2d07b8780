"""Functions that answer several requests at once, or one request with several items."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import glowplug
from glowplug.core.errors import InvalidArguments

app = glowplug.App("several")


@app.function()
def count(to: int, fail: bool = False) -> Iterator[dict[str, int]]:
    for number in range(to):
        yield {"n": number}
    if fail:
        raise LookupError("no more")


@app.function()
async def count_slowly(to: int) -> AsyncIterator[int]:
    for number in range(to):
        await asyncio.sleep(0.001)
        yield number


@app.function()
async def later(text: str) -> str:
    await asyncio.sleep(0)
    return text.upper()


@app.function()
def flood() -> Iterator[bytes]:
    yield b"%10d" % os.getpid()
    while True:
        yield bytes(10_000)


@app.model(libraries=["torch"])
class Doubler:
    """A batched model: the example that it is traced with is one request, as any other."""

    def build(self):  # type: ignore[no-untyped-def]
        import torch

        model = torch.nn.Linear(1, 1, bias=False)
        model.weight.data[:] = 2.0
        return model

    def example(self) -> dict[str, float]:
        return {"number": 1.0}

    @glowplug.endpoint(max_batch=8, max_wait_ms=1)
    def double(self, number: list[float]) -> list[float | Exception]:
        import torch

        assert torch.is_inference_mode_enabled() or "GLOWPLUG_FUNCTION" not in os.environ
        doubled = self.model(torch.tensor(number)[:, None])[:, 0].tolist()  # type: ignore[attr-defined]
        return [
            InvalidArguments("too large", "number") if number > 1e6 else answer
            for number, answer in zip(number, doubled, strict=True)
        ]
