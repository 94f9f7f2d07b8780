"""JSON Schema of what an endpoint takes and returns, from its annotations: made where a source is inspected,
the one place that has the types and where time does not matter."""

from __future__ import annotations

import collections.abc
import inspect
import math
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from glowplug.bundle.askable import check_arguments
from glowplug.core.annotations import array_type, bare, element_of, hints_of
from glowplug.core.specs import Declaration, Schemas

_MAX_CHARS = 16_384
_ARRAY: dict[str, Any] = {
    "type": "array",
    "items": {"anyOf": [{"type": "number"}, {"type": "boolean"}, {"type": "array"}]},
    "description": "an array of numbers, nested to its shape",
}
_STREAMS = (
    collections.abc.Iterator, collections.abc.Generator,
    collections.abc.AsyncIterator, collections.abc.AsyncGenerator,
)  # fmt: skip
_PERHAPS_STREAMS = (collections.abc.Iterable, collections.abc.AsyncIterable)
"""Of what yields; anything else that says it returns one gives a list."""


def with_schemas(declaration: Declaration, target: Any) -> Declaration:
    """The declaration with the schema of each of its endpoints, as far as its annotations say. Raises
    InvalidDeclaration when no request could bring what one of them takes."""
    from glowplug.handles import endpoints_of

    calls: dict[str, tuple[Callable[..., Any], int]]
    if declaration.kind == "model":
        calls = {name: (endpoint.method, 1) for name, endpoint in endpoints_of(target).items()}
    else:
        calls = {declaration.endpoints[0].name: (target, 0)}
    for call, skip in calls.values():
        check_arguments(call, skip)
    specs = tuple(
        msgspec.structs.replace(spec, schema=endpoint_schema(*calls[spec.name], spec.max_batch > 1))
        for spec in declaration.endpoints
    )
    return msgspec.structs.replace(declaration, endpoints=specs)


def endpoint_schema(call: Callable[..., Any], skip: int = 0, batched: bool = False) -> str:
    """Schemas as JSON text; nothing when they cannot be made, or would be larger than anybody reads.

    One that is `batched` gets and returns lists, of which a request sees its own part.
    """
    try:
        text = msgspec.json.encode(_schemas(call, skip, batched), order="deterministic").decode()
    except Exception:  # a user's types may do anything, and are no reason not to deploy
        return ""
    return text if len(text) <= _MAX_CHARS else ""


def _schemas(call: Callable[..., Any], skip: int, batched: bool) -> Schemas:
    parameters = list(inspect.signature(call).parameters.values())[skip:]
    hints = hints_of(call)
    if batched:
        hints = {name: element_of(kind) for name, kind in hints.items()}
    returned = bare(hints.get("return", Any))
    origin = typing.get_origin(returned)
    yields = inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call)
    streams = yields or origin in _STREAMS
    if streams and origin in (*_STREAMS, *_PERHAPS_STREAMS):
        returned = (*typing.get_args(returned), Any)[0]
    wanted = {parameter.name: hints.get(parameter.name, Any) for parameter in parameters}
    found, defs = _components([*wanted.values(), returned])
    defaults = {p.name: _default(p.default) for p in parameters}
    return Schemas(
        arguments={name: schema | defaults[name] for name, schema in zip(wanted, found, strict=False)},
        required=tuple(p.name for p in parameters if p.default is p.empty),
        result=found[-1],
        arrays=tuple(name for name, kind in wanted.items() if _is_array(kind)),
        returns_array=_is_array(returned), streams=streams, defs=defs,
    )  # fmt: skip


def _components(kinds: list[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A schema each, and what they refer to. What has no schema may be anything, as far as a schema says."""
    kinds = [kind if _has_schema(kind) else Any for kind in kinds]
    plain = [Any if _is_array(kind) else kind for kind in kinds]
    found, defs = msgspec.json.schema_components(plain, schema_hook=_other, ref_template="#/$defs/{name}")
    schemas = [_other(kind) if _is_array(kind) else schema for kind, schema in zip(kinds, found, strict=True)]
    return schemas, defs


def _has_schema(kind: Any) -> bool:
    if _is_array(kind):
        return True
    try:
        msgspec.json.schema(kind, schema_hook=_other)
    except Exception:
        return False
    return True


def _other(kind: Any) -> dict[str, Any]:
    if not _is_array(kind):
        return {}
    is_optional = array_type(kind) is not bare(kind)
    return {"anyOf": [dict(_ARRAY), {"type": "null"}]} if is_optional else dict(_ARRAY)


def _is_array(kind: Any) -> bool:
    return array_type(kind) is not None


def _default(value: Any) -> dict[str, Any]:
    finite = isinstance(value, float) and math.isfinite(value)
    return {"default": value} if finite or isinstance(value, (bool, int, str)) else {}
