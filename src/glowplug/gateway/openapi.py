"""The OpenAPI 3.1 description of a server: its functions, by their annotations, and the admin interface."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from glowplug.core.errors import BY_CODE, UNREADABLE, GlowplugError
from glowplug.core.ids import DEFAULT_NAMESPACE
from glowplug.core.priority import AS_DECLARED, LABELS, Priority
from glowplug.core.specs import EndpointSpec, Schemas
from glowplug.core.status import FunctionStatus
from glowplug.gateway.admin_paths import admin_components, admin_paths

_JSON, _NPY, _SAFETENSORS = "application/json", "application/x-npy", "application/vnd.safetensors"
_OCTETS, _TEXT, _SSE = "application/octet-stream", "text/plain", "text/event-stream"
_LINES = "application/x-ndjson"
_BINARY: dict[str, Any] = {"schema": {}}
_HEADERS = {
    "Server-Timing": {"description": "Milliseconds by phase.", "schema": {"type": "string"}},
    "X-Glowplug-Request": {"description": "The request's number, for traces.", "schema": {"type": "integer"}},
    "X-Glowplug-Origin": {
        "description": "The step of the readiness ladder that it started from.", "schema": {"type": "string"},
    },
}  # fmt: skip
_PARAMETERS = [
    {
        "name": "X-Glowplug-Timeout", "in": "header", "description": "Seconds until nobody wants the answer.",
        "schema": {"type": "number", "minimum": 0.001},
    },
    {
        "name": "X-Glowplug-Priority", "in": "header",
        "description": "A class, or its rank: the higher the sooner; 0 is the function's own.",
        "schema": {"anyOf": [{"enum": list(LABELS)}, {"type": "integer", "minimum": AS_DECLARED,
                                                      "maximum": int(Priority.INTERACTIVE)}]},
    },
]  # fmt: skip
_REFUSALS = (400, 401, 404, 413, 422, 429, 500, 502, 503, 504, 507)


def document(functions: Iterable[FunctionStatus], version: str, wants_token: bool) -> dict[str, Any]:
    """The whole description. `version` is the server's."""
    schemas: dict[str, Any] = {"Error": _ERROR} | admin_components()
    paths: dict[str, Any] = {}
    for function in functions:
        for endpoint, path in _addresses(function):
            paths[path] = {"post": _operation(function, endpoint, schemas)}
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Glowplug", "version": version, "description": _ABOUT},
        "paths": paths | admin_paths(),
        "components": {"schemas": schemas, "responses": _responses()},
    }
    if wants_token:
        found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"token": []}]
    return found


_ABOUT = "Functions that are deployed here, and the admin interface. Errors are JSON with a stable code."
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string", "description": "Stable; what a program looks at."},
                "message": {"type": "string", "description": "What is wrong, and what to do."},
                "field": {"type": "string", "description": "The argument that does not fit."},
            },
        }
    },
}


def _addresses(function: FunctionStatus) -> Iterator[tuple[EndpointSpec, str]]:
    """The first endpoint answers at the function's own address."""
    name = _full_name(function)
    for index, endpoint in enumerate(function.endpoints):
        yield endpoint, f"/function/{name}" if index == 0 else f"/function/{name}/{endpoint.name}"


def _full_name(function: FunctionStatus) -> str:
    spaced = function.namespace != DEFAULT_NAMESPACE
    return f"{function.name}.{function.namespace}" if spaced else function.name


def _operation(
    function: FunctionStatus, endpoint: EndpointSpec, components: dict[str, Any]
) -> dict[str, Any]:
    """Its schema is what an upload says, which may be anything: then the arguments' names are told."""
    try:
        known = msgspec.json.decode(endpoint.schema, type=Schemas) if endpoint.schema else _guessed(endpoint)
        return _described(function, endpoint, known, components)
    except (*UNREADABLE, AttributeError, TypeError):
        return _described(function, endpoint, _guessed(endpoint), components)


def _described(
    function: FunctionStatus, endpoint: EndpointSpec, known: Schemas, components: dict[str, Any]
) -> dict[str, Any]:
    prefix = f"{function.name}.{function.namespace}.{endpoint.name}."
    definitions = {prefix + name: _hoisted(schema, prefix) for name, schema in known.defs.items()}
    summary, _, more = endpoint.doc.partition("\n")
    found = {
        "operationId": f"{function.name}.{function.namespace}.{endpoint.name}",
        "tags": [_full_name(function)],
        "summary": summary or f"{endpoint.name} of {function.name}",
        "description": more.strip(),
        "parameters": _PARAMETERS,
        "requestBody": {"required": bool(known.required), "content": _bodies(known, prefix)},
        "responses": {"200": _answer(known, endpoint.streams or known.streams, prefix)} | _refs(_REFUSALS),
    }
    components |= definitions
    return found


def _guessed(endpoint: EndpointSpec) -> Schemas:
    """Of a function that was deployed without schemas its arguments' names are known."""
    return Schemas(
        {parameter.name: {} for parameter in endpoint.parameters},
        tuple(parameter.name for parameter in endpoint.parameters if parameter.required),
    )


def _bodies(known: Schemas, prefix: str) -> dict[str, Any]:
    arguments = {name: _hoisted(schema, prefix) for name, schema in known.arguments.items()}
    whole: dict[str, Any] = {"type": "object", "properties": arguments, "additionalProperties": False}
    if known.required:
        whole["required"] = list(known.required)
    only = next(iter(arguments.values())) if len(arguments) == 1 else None
    content = {_JSON: {"schema": whole if only is None else {"anyOf": [whole, only]}}}
    if next(iter(known.arguments), None) in known.arrays:
        content[_NPY] = _BINARY
    if known.arrays:
        content[_SAFETENSORS] = _BINARY
    if only is not None and only.get("contentEncoding") == "base64":
        content[_OCTETS] = _BINARY
    elif only is not None and only.get("type") == "string":
        content[_TEXT] = {"schema": {"type": "string"}}
    return content


def _answer(known: Schemas, streams: bool, prefix: str) -> dict[str, Any]:
    result = _hoisted(known.result, prefix)
    is_raw = known.result.get("contentEncoding") == "base64"
    if streams:
        text: dict[str, Any] = {"schema": {"type": "string"}}
        kinds = {_OCTETS: _BINARY} if is_raw else {_LINES: text, _SSE: text}
        if known.result.get("type") == "string" and not is_raw:
            kinds[_TEXT] = text
        return {"description": "Each part as it comes.", "headers": _HEADERS, "content": kinds}
    content: dict[str, Any] = {_OCTETS: _BINARY} if is_raw else {_JSON: {"schema": result}}
    if known.returns_array:
        content[_NPY] = _BINARY
    return {"description": "What the function returned.", "headers": _HEADERS, "content": content}


def _hoisted(schema: Any, prefix: str) -> Any:
    """The schema with its `#/$defs/X` among the document's components, under a name that no other has."""
    if isinstance(schema, dict):
        return {
            key: f"#/components/schemas/{prefix}{value[8:]}"
            if key == "$ref" and isinstance(value, str) and value.startswith("#/$defs/")
            else _hoisted(value, prefix)
            for key, value in schema.items()
        }
    return [_hoisted(each, prefix) for each in schema] if isinstance(schema, list) else schema


def _refs(statuses: Iterable[int]) -> dict[str, Any]:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _responses() -> dict[str, Any]:
    """One for each status that an error of core.errors has."""
    by_status: dict[int, list[type[GlowplugError]]] = {}
    for error in BY_CODE.values():
        by_status.setdefault(error.status, []).append(error)
    content = {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        str(status): {
            "description": "Codes: " + ", ".join(sorted(error.code for error in errors)) + ".",
            "content": content,
        }
        for status, errors in sorted(by_status.items())
    }  # fmt: skip
