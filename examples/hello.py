"""The smallest app: a plain function.

glowplug serve examples/hello.py
glowplug invoke shout text=hello
"""

from __future__ import annotations

import glowplug

app = glowplug.App("hello")


@app.function()
def shout(text: str) -> str:
    """`text`, louder."""
    return text.upper() + "!"
