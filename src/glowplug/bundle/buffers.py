"""What passes over a model write to its buffers, undone: who compares answers has run it more often than its
example does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def buffers_kept(modules: dict[str, Any]) -> Iterator[None]:
    """Afterwards every buffer is the tensor that it was, and holds what it held. They are copied meanwhile.
    In inference mode, for what was made in it is written to."""
    from glowplug.loader.roots import modules_of

    kept = [
        (module._buffers, name, tensor, None if tensor is None else tensor.detach().clone())
        for module in modules_of(modules)
        for name, tensor in module._buffers.items()
    ]
    try:
        yield
    finally:
        for holder, name, tensor, value in kept:
            holder[name] = tensor
            # What overlaps itself, as expand makes it, nobody can have written to.
            with contextlib.suppress(RuntimeError):
                if tensor is not None and value is not None:
                    tensor.copy_(value)
