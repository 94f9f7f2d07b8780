"""A request's body becomes checked arguments.

Bodies: JSON (an object of arguments, or the bare value of a function's only argument), `.npy` (one array,
for the first argument, or for the one that the content type's parameter `argument` names), safetensors
(arrays by argument name), text and bytes for the only argument.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import msgspec
import numpy as np

from glowplug.core.annotations import array_type, bare, element_of, hints_of
from glowplug.core.bodies import JSON, NPY, OCTETS, SAFETENSORS, TEXT
from glowplug.core.errors import UNREADABLE, InvalidArguments
from glowplug.node.arrays import read_npy, to_array

_READ_AS_JSON = (JSON, "application/x-www-form-urlencoded")
"""The second is what curl says of any -d."""


class Signature:
    """The checked way into one endpoint. Built once per endpoint, for a worker and its siblings.

    With `in_batches` the endpoint takes lists of what this describes: a parameter `list[T]` is a T here.
    """

    def __init__(self, call: Callable[..., Any], in_batches: bool = False) -> None:
        parameters = list(inspect.signature(call).parameters.values())
        self.names = [p.name for p in parameters]
        self.required = [p.name for p in parameters if p.default is p.empty]
        hints = hints_of(call)
        self.types = {name: hints.get(name, Any) for name in self.names}
        if in_batches:
            self.types = {name: element_of(wanted) for name, wanted in self.types.items()}
        self._arrays = [name for name in self.names if array_type(self.types[name]) is not None]
        self._has_optional = len(self.required) < len(self.names)
        self._decode_whole = self._whole_decoder()

    def decode(self, content_type: str, body: memoryview | bytes) -> dict[str, Any]:
        """Arguments by name. Raises InvalidArguments naming the field."""
        if content_type == JSON and self._decode_whole is not None:
            try:
                found = msgspec.structs.asdict(self._decode_whole(body))
            except UNREADABLE:
                pass  # it is of another form, or wrong: what follows says which
            else:
                if self._has_optional:
                    found = {name: value for name, value in found.items() if value is not msgspec.UNSET}
                for name in self._arrays:
                    if name in found:
                        found[name] = to_array(name, found[name], self.types[name])
                return found
        return self._decode_any(content_type, body)

    def _whole_decoder(self) -> Callable[[memoryview | bytes], Any] | None:
        """Reads a JSON object of arguments straight into their types, as nearly every request needs. None
        where that would not be the same as checking each argument by itself."""
        if len(self.names) == 1 and not self.required and self._wants_mapping():
            return None  # {} is the argument, not its absence
        fields: list[Any] = []
        for name in self.names:
            wanted = Any if name in self._arrays else self.types[name]
            if name in self.required:
                fields.append((name, wanted))
            else:
                fields.append((name, typing.Union[wanted, msgspec.UnsetType], msgspec.UNSET))  # noqa: UP007
        try:
            whole = msgspec.defstruct("Arguments", fields, forbid_unknown_fields=True, kw_only=True)
            return msgspec.json.Decoder(whole).decode
        except Exception:  # a type that msgspec does not have, or a name
            return None

    def _decode_any(self, content_type: str, body: memoryview | bytes) -> dict[str, Any]:
        kind, _, parameters = content_type.partition(";")
        kind = kind.strip().lower() or JSON
        if kind == NPY:
            name = _argument_of(parameters) or self._only("a .npy body", first=True)
            return self._check({name: read_npy(body)})
        if kind == SAFETENSORS:
            return self._check(_read_safetensors(body))
        if kind == OCTETS:
            return self._check({self._only("a body of bytes"): bytes(body)})
        if kind == TEXT:
            return self._check({self._only("a text body"): bytes(body).decode("utf-8", "replace")})
        if not len(body):
            return self._check({})
        try:
            found = msgspec.json.decode(body)
        except UNREADABLE as error:
            came = "" if kind in _READ_AS_JSON else f" (it came as {kind[:80]}, which is read as JSON)"
            raise InvalidArguments(f"the body is not valid JSON{came}: {error}") from None
        by_name = isinstance(found, dict) and bool(set(self.names) & set(found) or not self._wants_mapping())
        if len(self.names) == 1 and not by_name:
            found = {self.names[0]: found}
        elif not isinstance(found, dict):
            raise InvalidArguments(f"the body must be a JSON object with {self._listed()}")
        return self._check(found)

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
        return bool(self.names) and _is_mapping(self.types[self.names[0]])

    def _listed(self) -> str:
        return ", ".join(self.names) or "no arguments"


def _is_mapping(wanted: Any) -> bool:
    """Whether a JSON object may be of this type."""
    wanted = bare(wanted)
    origin = typing.get_origin(wanted) or wanted
    if origin in (typing.Union, types.UnionType):
        return any(map(_is_mapping, typing.get_args(wanted)))
    if origin in (Any, object) or not isinstance(origin, type):
        return origin in (Any, object)
    return (
        issubclass(origin, (collections.abc.Mapping, msgspec.Struct))
        or dataclasses.is_dataclass(origin)
        or hasattr(origin, "__attrs_attrs__")
    )


def _argument_of(parameters: str) -> str:
    """NAME out of a content type's `; argument=NAME`, else empty."""
    for parameter in parameters.split(";"):
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "argument":
            return unquote(value.strip().strip('"'))
    return ""


def _convert(name: str, value: Any, wanted: Any) -> Any:
    if wanted is Any:
        return value
    if array_type(wanted) is not None:
        return to_array(name, value, wanted)
    if wanted is bytes and isinstance(value, bytes):
        return value
    if isinstance(value, np.ndarray):
        value = value.tolist()
    try:
        return msgspec.convert(value, wanted, str_keys=True)
    except (msgspec.ValidationError, TypeError, NameError) as error:
        raise InvalidArguments(f"argument {name!r}: {error}", name) from None


def _read_safetensors(body: memoryview | bytes) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(bytes(body)))
    except (SafetensorError, ValueError, KeyError) as error:
        raise InvalidArguments(f"the body is not a safetensors file: {error}") from None
