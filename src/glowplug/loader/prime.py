"""The calls that warm a rebuilt object up: the first forward of each of its modules, and its arguments."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

import msgspec

from glowplug.loader.roots import resolve

if TYPE_CHECKING:
    from torch import Tensor

PRIME_LIMIT_BYTES = 16 * 2**20
"""Arguments that pickle to more than this are not kept: they would cost more to read than priming gains."""


class PrimeCall(msgspec.Struct, frozen=True, array_like=True):
    """One forward: `root` is the module's path in the object, `payload` the pickled (args, kwargs)."""

    root: str
    payload: bytes

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Fresh (args, kwargs). Unpickles: only for a function's own processes."""
        args, kwargs = pickle.loads(self.payload)
        return args, kwargs


class Prime(msgspec.Struct, frozen=True, array_like=True):
    calls: tuple[PrimeCall, ...]

    def run(self, obj: object) -> None:
        """Runs every call on `obj`, under inference_mode. Raises what the modules raise."""
        import torch

        with torch.inference_mode():
            for call in self.calls:
                args, kwargs = call.arguments()
                module: Any = resolve(obj, call.root)
                module(*args, **kwargs)


class _Pickler(pickle.Pickler):
    """Tensors go as their bytes: torch's own way wraps each into an archive."""

    def reducer_override(self, obj: Any) -> Any:
        import torch

        if type(obj) is torch.Tensor and obj.device.type == "cpu" and obj.layout == torch.strided:
            flat = obj.detach().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
            return _tensor, (flat.numpy().tobytes(), str(obj.dtype).removeprefix("torch."), tuple(obj.shape))
        return NotImplemented


def _tensor(data: bytes, dtype: str, shape: tuple[int, ...]) -> Tensor:
    import torch

    kind = getattr(torch, dtype)
    if not data:
        return torch.empty(shape, dtype=kind, device="cpu")
    return torch.frombuffer(bytearray(data), dtype=kind).view(shape)


def snapshot(root: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> PrimeCall | None:
    """Keeps the arguments as they are now; None when they cannot be pickled or are too large."""
    file = io.BytesIO()
    try:
        _Pickler(file, protocol=5).dump((args, kwargs))
    except Exception:
        # Arguments are the user's objects: their __reduce__ may raise anything, and priming is only a gain.
        return None
    payload = file.getvalue()
    return PrimeCall(root, payload) if len(payload) <= PRIME_LIMIT_BYTES else None
