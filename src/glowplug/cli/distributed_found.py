"""Torch models of somebody's file, as `glowplug distributed` plans and runs them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from glowplug.cli.model_files import opened, running
from glowplug.cli.output import errors
from glowplug.core.errors import InvalidDeclaration

if TYPE_CHECKING:
    from torch import nn

    from glowplug.distributed.chains import Block
    from glowplug.distributed.torch_problem import TorchSurvey


class Found(NamedTuple):
    """A model of somebody's file, and what it is run on, packed, which `called` in the file returned."""

    source: str
    file: Path
    model: nn.Module
    inputs: Sequence[bytes]
    called: str

    def answer(self) -> Any:
        """Of the first input. Raises InvalidDeclaration where the model cannot run on that."""
        from glowplug.distributed.torch_values import run_packed

        with running(self.file, self.called):
            return run_packed(self.model, self.inputs[0])


def found_in(source: str, example: str, inputs: str = "") -> Found:
    """`source` is FILE:NAME of a callable that returns the model; beside it `example` returns its input, or
    `inputs` a list of several. Raises InvalidDeclaration for what the file has not, or raises."""
    from glowplug.distributed.torch_values import packed_input

    file, model, given = opened(source, inputs or example)
    if not inputs:
        return Found(source, file, model, [packed_input(given)], example)
    if not isinstance(given, list) or not given:
        raise InvalidDeclaration(f"{file}: {inputs}() returns no list of inputs with one at least")
    return Found(source, file, model, list(map(packed_input, given)), inputs)


def surveyed(found: Found, samples: int, slowdown: float = 1.0, chain: Sequence[Block] = ()) -> TorchSurvey:
    """What a planner looks at, of so many samples of the first input. Raises what `torch_survey`
    does."""
    from glowplug.distributed.torch_problem import torch_survey

    with errors.status("how fast this machine is"):
        return torch_survey(
            found.source, found.model, found.answer, samples, len(found.inputs[0]), slowdown, chain
        )
