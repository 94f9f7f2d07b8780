"""A request's body becomes checked arguments, and a result becomes a body.

Bodies: JSON (an object of arguments, or the bare value of a function's only argument), `.npy` (one array,
for the first argument, or for the one that the content type's parameter `argument` names), safetensors
(arrays by argument name), text and bytes for the only argument.
Results: JSON, with arrays as nested lists, unless the client accepts `.npy` or safetensors, or the function
returns bytes.
"""

from __future__ import annotations

import inspect
import io
import sys
import typing
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from glowplug.core.errors import GlowplugError, InvalidArguments

JSON = "application/json"
NPY = "application/x-npy"
SAFETENSORS = "application/vnd.safetensors"
OCTETS = "application/octet-stream"


class Signature:
    """The checked way into and out of one endpoint. Built once per worker and endpoint."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.parameters = list(inspect.signature(call).parameters.values())
        self.names = [p.name for p in self.parameters]
        self.required = [p.name for p in self.parameters if p.default is p.empty]
        try:
            hints = typing.get_type_hints(call)
        except Exception:  # an annotation that only a type checker can resolve is not checked
            hints = {}
        self.types = {name: hints.get(name, Any) for name in self.names}

    def decode(self, content_type: str, body: memoryview | bytes) -> dict[str, Any]:
        """Arguments by name. Raises InvalidArguments naming the field."""
        kind, _, parameters = content_type.partition(";")
        kind = kind.strip().lower() or JSON
        if kind == NPY:
            name = _argument_of(parameters) or self._only("a .npy body", first=True)
            return self._check({name: _read_npy(body)})
        if kind == SAFETENSORS:
            return self._check(_read_safetensors(body))
        if kind == OCTETS:
            return self._check({self._only("a body of bytes"): bytes(body)})
        if kind == "text/plain":
            return self._check({self._only("a text body"): bytes(body).decode("utf-8", "replace")})
        if not len(body):
            return self._check({})
        try:
            found = msgspec.json.decode(body)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise InvalidArguments(f"the body is not valid JSON: {error}") from None
        by_name = isinstance(found, dict) and bool(set(self.names) & set(found) or not self._wants_mapping())
        if len(self.names) == 1 and not by_name:
            found = {self.names[0]: found}
        elif not isinstance(found, dict):
            raise InvalidArguments(f"the body must be a JSON object with {self._listed()}")
        return self._check(found)

    def encode(self, result: Any, accept: str) -> tuple[int, str, bytes | memoryview]:
        """(status, content type, body) of a result. Raises GlowplugError when it cannot be sent."""
        if isinstance(result, (bytes, bytearray, memoryview)):
            return 200, OCTETS, memoryview(result)
        if accept and NPY in accept:
            array = _as_array(result)
            if array is not None:
                return 200, NPY, _write_npy(array)
        if accept and SAFETENSORS in accept and isinstance(result, dict):
            from safetensors.numpy import save

            return 200, SAFETENSORS, save({k: np.ascontiguousarray(_as_array(v)) for k, v in result.items()})
        try:
            return 200, JSON, msgspec.json.encode(result, enc_hook=_to_json)
        except (TypeError, ValueError, OverflowError) as error:
            raise GlowplugError(f"the result cannot be written as JSON: {error}") from error

    def _check(self, found: dict[str, Any]) -> dict[str, Any]:
        for name in self.required:
            if name not in found:
                raise InvalidArguments(
                    f"argument {name!r} is missing; the function takes {self._listed()}", name
                )
        for name in found:
            if name not in self.types:
                shown = str(name)[:80]
                raise InvalidArguments(
                    f"there is no argument {shown!r}; the function takes {self._listed()}", shown
                )
        return {name: _convert(name, value, self.types[name]) for name, value in found.items()}

    def _only(self, what: str, first: bool = False) -> str:
        if not self.names or (not first and len(self.names) != 1):
            raise InvalidArguments(f"{what} fits a function of one argument; this one takes {self._listed()}")
        return self.names[0]

    def _wants_mapping(self) -> bool:
        if not self.names:
            return False
        wanted = self.types[self.names[0]]
        origin = typing.get_origin(wanted) or wanted
        if wanted is Any or origin is dict:
            return True
        return isinstance(origin, type) and not issubclass(
            origin, (str, int, float, list, tuple, bytes, np.ndarray)
        )

    def _listed(self) -> str:
        return ", ".join(self.names) or "no arguments"


def _argument_of(parameters: str) -> str:
    """NAME out of a content type's `; argument=NAME`, else empty."""
    for parameter in parameters.split(";"):
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "argument":
            return value.strip().strip('"')
    return ""


def _convert(name: str, value: Any, wanted: Any) -> Any:
    if wanted is Any:
        return value
    if wanted is np.ndarray or typing.get_origin(wanted) is np.ndarray:
        return _to_array(name, value)
    torch = sys.modules.get("torch")
    if torch is not None and wanted is torch.Tensor:
        array = _to_array(name, value)
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    if wanted is bytes and isinstance(value, bytes):
        return value
    if isinstance(value, np.ndarray):
        value = value.tolist()
    try:
        return msgspec.convert(value, wanted)
    except (msgspec.ValidationError, TypeError) as error:
        raise InvalidArguments(f"argument {name!r}: {error}", name) from None


def _to_array(name: str, value: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, np.ndarray):
        return value
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidArguments(f"argument {name!r} is not an array: {error}", name) from None
    if array.dtype.kind not in "biuf":
        raise InvalidArguments(f"argument {name!r} must be an array of numbers", name)
    return array


def _read_npy(body: memoryview | bytes) -> np.ndarray[Any, Any]:
    try:
        return np.load(io.BytesIO(body), allow_pickle=False)  # type: ignore[no-any-return]
    except (ValueError, OSError, EOFError) as error:
        raise InvalidArguments(f"the body is not a .npy array: {error}") from None


def _write_npy(array: np.ndarray[Any, Any]) -> memoryview:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getbuffer()


def _read_safetensors(body: memoryview | bytes) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(bytes(body)))
    except (SafetensorError, ValueError, KeyError) as error:
        raise InvalidArguments(f"the body is not a safetensors file: {error}") from None


def _as_array(value: Any) -> np.ndarray[Any, Any] | None:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return value.detach().numpy()  # type: ignore[no-any-return]
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, (list, tuple)):
        array = np.asarray(value)
        return array if array.dtype.kind in "biuf" else None
    return None


def _to_json(value: Any) -> Any:
    array = _as_array(value)
    if array is not None:
        return array.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} has no JSON form")
