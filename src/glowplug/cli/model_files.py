"""A model in somebody's file, as FILE:NAME of a callable that returns it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from glowplug.core.errors import GlowplugError, InvalidDeclaration


@contextmanager
def running(file: Path, example: str) -> Iterator[None]:
    """Around what runs a model of `file`, which is somebody's code, and may raise anything. Raises
    InvalidDeclaration."""
    try:
        yield
    except GlowplugError:
        raise
    except Exception as error:
        raise InvalidDeclaration(
            f"{file}: the model cannot run on what {example}() returns: {type(error).__name__}: {error}"
        ) from error


def split_source(source: str) -> tuple[Path, str]:
    file, _, name = source.rpartition(":")
    if not file or not name:
        raise InvalidDeclaration(f"{source!r}: write FILE:NAME, as in model.py:build")
    return Path(file), name


def module_of(file: Path) -> Any:
    """The file, imported as a module under its own name, so that the pack's classes are found again."""
    if not file.is_file():
        raise InvalidDeclaration(f"{file}: there is no such file")
    sys.path.insert(0, str(file.resolve().parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InvalidDeclaration(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
    return module


@lru_cache(maxsize=1)
def opened(source: str, example: str) -> tuple[Path, Any, Any]:
    """The file, the torch model that a callable of it returns, as in eval(), and what its `example` returns:
    one argument, a tuple of them, or a dict of named ones. Asked again for the last one, it builds nothing.

    Raises InvalidDeclaration for what the file has not, or raises.
    """
    from torch import nn

    file, name = split_source(source)
    module = module_of(file)
    built, given = called(module, name, file), called(module, example, file)
    if not isinstance(built, nn.Module):
        raise InvalidDeclaration(f"{file}: {name}() returns {type(built).__name__}, and no torch.nn.Module")
    return file, built.eval(), given


def called(module: Any, name: str, file: Path) -> Any:
    found = getattr(module, name, None)
    if not callable(found):
        raise InvalidDeclaration(f"{file} has no callable {name!r}")
    try:
        return found()
    except GlowplugError:
        raise
    except Exception as error:
        raise InvalidDeclaration(f"{file}: {name}() raised {type(error).__name__}: {error}") from error
