"""Which modules train, and which are for inference: in a pack only where that changes on the way in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from glowplug.loader.roots import find_roots, join

if TYPE_CHECKING:
    from torch.nn import Module


def turned(obj: object) -> tuple[str, ...]:
    """The paths of the modules whose mode is not that of the module around them; around the outermost ones is
    inference."""
    found = []
    for top, root in find_roots(obj).items():
        modes: dict[str, bool] = {}
        for path, module, around in _inward(root):
            modes[path] = module.training
            if module.training != modes.get(around, False):
                found.append(join(top, path))
    return tuple(found)


def turn(model: Module, paths: Sequence[str]) -> None:
    """All of it is for inference, but for what `turned` told."""
    model.eval()
    modes: dict[str, bool] = {}
    for path, module, around in _inward(model) if paths else ():
        module.training = modes[path] = modes.get(around, False) != (path in paths)


def _inward(root: Module) -> Iterator[tuple[str, Module, str]]:
    """(path, module, the path of the module around it: "-" for none), each once, whole before part."""
    for path, module in root.named_modules():
        yield path, module, path.rpartition(".")[0] if path else "-"
