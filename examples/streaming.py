"""An answer that comes bit by bit: a function that yields.

glowplug serve examples/streaming.py
glowplug invoke countdown start=3
curl -N -H 'Accept: text/event-stream' -d '{"start": 3}' localhost:8000/function/countdown
"""

from __future__ import annotations

from collections.abc import Iterator

import glowplug

app = glowplug.App("streaming")


@app.function()
def countdown(start: int) -> Iterator[str]:
    """From `start` down. Each line is sent as soon as it is there, and no sooner than the client reads."""
    for number in range(start, 0, -1):
        yield f"{number}..."
    yield "ignition"
