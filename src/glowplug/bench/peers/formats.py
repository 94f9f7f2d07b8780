"""A state dict in the file format that each peer reads, written once and kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from glowplug.bench.peers.scripts import script_command, script_environment

if TYPE_CHECKING:
    from torch import Tensor

Format = Literal["safetensors", "torch", "tensorizer", "transformers"]

_SUFFIXES: dict[Format, str] = {
    "safetensors": ".safetensors",
    "torch": ".pt",
    "tensorizer": ".tensors",
    "transformers": ".transformers",
}


def weights_in(
    wanted: Format, architecture: str, state: Callable[[], Mapping[str, Tensor]], folder: Path, python: Path
) -> Path:
    """The file (for transformers, the folder) with the architecture's weights, made in `folder` if missing.

    `state` is asked for the weights when they are needed; what is there already is taken to be of the same
    ones. Tied tensors are written once. The file for transformers has random weights of its own. `python`
    has the peer's package. Raises RuntimeError when the conversion fails, OSError.
    """
    target = folder / f"{architecture.replace(':', '.')}{_SUFFIXES[wanted]}"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    if wanted == "transformers":
        source = architecture
    elif wanted == "tensorizer":
        source = str(weights_in("safetensors", architecture, state, folder, python))
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        # Libraries tell formats by suffixes.
        written = Path(unfinished) / target.name
        if wanted == "safetensors":
            _write_safetensors(state(), written)
        elif wanted == "torch":
            _write_torch(state(), written)
        else:
            _convert(python, wanted, source, written)
        _publish(written, target)
    return target


def files_of(weights: Path) -> list[Path]:
    """Every file of what `weights_in` made: what lies in the page cache or is evicted from it."""
    return sorted(path for path in weights.rglob("*") if path.is_file()) if weights.is_dir() else [weights]


def _publish(written: Path, target: Path) -> None:
    """Whoever comes first wins: two may have made the same."""
    try:
        written.rename(target)
    except OSError:
        if not target.exists():
            raise
        if written.is_dir():
            shutil.rmtree(written)


def _once_each(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor under the first of its names, contiguous: safetensors refuses to write tied ones."""
    seen = set()
    kept = {}
    for name, tensor in state.items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() == 0 or place not in seen:
            seen.add(place)
            kept[name] = tensor.detach().contiguous()
    return kept


def _write_safetensors(state: Mapping[str, Tensor], target: Path) -> None:
    from safetensors.torch import save_file

    # accelerate and transformers look for this.
    save_file(_once_each(state), target, metadata={"format": "pt"})


def _write_torch(state: Mapping[str, Tensor], target: Path) -> None:
    import torch

    torch.save(_once_each(state), target)


def _convert(python: Path, wanted: Format, source: str, target: Path) -> None:
    command = script_command(python, "convert", wanted, source, str(target))
    environment = {**os.environ, **script_environment()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tail = "\n".join(done.stderr.splitlines()[-5:])
        raise RuntimeError(f"converting {source} for {wanted} failed with status {done.returncode}:\n{tail}")
