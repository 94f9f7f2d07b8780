"""Constructing a module whose weights come from a file, and giving it those: what the peers share."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def skip_initialisers() -> None:
    """From here on torch's initialisers do nothing in this process, which only ever takes weights from files.

    Faster than the meta device, whose every operation is dispatched through Python, and buffers that no file
    holds keep their values.
    """

    def leave_as_is(tensor: Tensor, *_args: object, **_kwargs: object) -> Tensor:
        return tensor

    for name in dir(nn.init):
        if name.endswith("_") and not name.startswith("_"):
            setattr(nn.init, name, leave_as_is)


def tied_names(module: nn.Module) -> dict[str, str]:
    """Each further name of a tensor that the state dict names more than once -> the first of its names."""
    first: dict[int, str] = {}
    tied = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        original = first.setdefault(id(tensor), name)
        if original != name:
            tied[name] = original
    return tied


def assign(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Makes `state` the module's tensors without a copy, and sets the module to eval mode.

    `state` has tied tensors once, under the first of their names. Raises RuntimeError for a misfit.
    """
    tied = {name: state[original] for name, original in tied_names(module).items()}
    module.load_state_dict({**state, **tied}, assign=True)
    module.eval()


def tie(module: nn.Module, names: Mapping[str, str]) -> None:
    """Makes the parameter of each first name that of its further names too: see `tied_names`."""
    for name, original in names.items():
        owner, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(owner), attribute, module.get_parameter(original))
