"""The admin interface, health and metrics, as OpenAPI describes them."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from glowplug.core.calls import CallRecord, CallState
from glowplug.core.explanation import Explanation
from glowplug.core.status import (
    LOG_STREAMS,
    DeviceStatus,
    FunctionStatus,
    Load,
    LogLine,
    PackagesList,
    RequestTrace,
)
from glowplug.gateway.calls import RetryRequest
from glowplug.gateway.platform import (
    Deployment,
    DeployRequest,
    DeviceFault,
    PlatformInfo,
    PruneRequest,
    RollbackRequest,
    ScaleRequest,
    Secret,
    SecretName,
    UndeployRequest,
)

_JSON, _NDJSON, _TEXT, _OCTETS = (
    "application/json", "application/x-ndjson", "text/plain", "application/octet-stream",
)  # fmt: skip


class Operation(msgspec.Struct, frozen=True):
    """`query` is (name, schema, description); `answer` a type, or a media type for what has none."""

    method: str
    path: str
    summary: str
    status: int = 200
    body: Any = None
    answer: Any = None
    query: tuple[tuple[str, dict[str, Any], str], ...] = ()
    errors: tuple[int, ...] = ()


_STRING, _COUNT = {"type": "string"}, {"type": "integer", "minimum": 0, "maximum": 999_999_999}
_NAMESPACE = ("namespace", _STRING, "Where the name holds none; default: default.")
_STEP = ("step", {"enum": ["local", "imported", "staged", "parked"]}, "The step to stand at.")
_CACHE = ("cache", {"enum": ["warm", "cold"]}, "Weights in the page cache, or out of it.")
_ONE = "/system/functions/{name}"
_CALL = "/system/calls/{call}"
_WAIT = ("wait", {"type": "number", "minimum": 0}, "Seconds to wait for its end.")
_WRITES = (400, 404, 413, 422, 507)

OPERATIONS = (
    Operation("get", "/system/functions", "All functions.", answer=list[FunctionStatus],
              query=(("namespace", _STRING, "Only those of this namespace."),)),
    Operation("post", "/system/functions", "Deploy.", 202, DeployRequest, Deployment, errors=_WRITES),
    Operation("put", "/system/functions", "Deploy again.", 202, DeployRequest, Deployment, errors=_WRITES),
    Operation("delete", "/system/functions", "Undeploy.", 202, UndeployRequest, errors=_WRITES),
    Operation("delete", _ONE, "Undeploy.", 202, query=(_NAMESPACE,), errors=(400, 404, 507)),
    Operation("get", _ONE, "One function.", answer=FunctionStatus, query=(_NAMESPACE,), errors=(400, 404)),
    Operation("get", "/system/function/{name}", "One function.", answer=FunctionStatus, query=(_NAMESPACE,),
              errors=(400, 404)),
    Operation("post", "/system/scale-function/{name}", "Keep so many workers parked.", 202, ScaleRequest,
              query=(_NAMESPACE,), errors=(400, 404, 413, 422)),
    Operation("post", _ONE + "/rollback", "Go back to an earlier version.", 202, RollbackRequest | None,
              query=(_NAMESPACE, ("version", _STRING, "Which; default: the one before.")), errors=_WRITES),
    Operation("post", _ONE + "/{direction}", "Climb or descend to a step.", answer=dict[str, str],
              query=(_NAMESPACE, _STEP, _CACHE), errors=(400, 404, 422, 503)),
    Operation("put", "/system/uploads", "Store a tar of code and weights; answers with its id.", 201, _OCTETS,
              dict[str, str], errors=(400, 413, 507)),
    Operation("get", "/system/logs", "What a function printed, a JSON object a line.", answer=_NDJSON,
              query=(("name", _STRING, "The function."), _NAMESPACE,
                     ("follow", {"type": "boolean"}, "Go on with each new line."),
                     ("tail", _COUNT, "At most so many of the lines that are kept."),
                     ("since", _STRING, "10m ago, RFC 3339, or epoch seconds."),
                     ("grep", _STRING, "Only lines with this text in them."),
                     ("stream", {"enum": list(LOG_STREAMS)}, "Only this one."),
                     ("instance", _COUNT, "Only of this worker.")),
              errors=(400, 404, 422)),
    Operation("get", "/system/traces", "The last requests and their phases.", answer=list[RequestTrace],
              query=(("function", _STRING, "Only of this function."), _NAMESPACE,
                     ("limit", _COUNT, "At most so many.")), errors=(400, 422)),
    Operation("get", "/system/traces/{request}", "One request's phases.", answer=RequestTrace, errors=(404,)),
    Operation("get", "/system/environments", "What was installed for functions.", answer=PackagesList),
    Operation("post", "/system/environments/prune", "Remove what no version needs.", 200, PruneRequest | None,
              PackagesList, errors=(400, 413, 422, 503)),
    Operation("post", "/async-function/{name}", "Store a call and run it later; /endpoint may follow.",
              202, _JSON, CallRecord, errors=(400, 404, 413, 422, 429, 503, 507)),
    Operation("get", "/system/calls", "Spawned calls, the newest first.", answer=list[CallRecord],
              query=(("function", _STRING, "Only of this function."),
                     ("state", {"enum": [*get_args(CallState), "dead-letter"]}, "Only those that stand so."),
                     ("before", _STRING, "The id of the last one that was seen."),
                     ("limit", _COUNT, "At most so many.")), errors=(400, 404, 422)),
    Operation("get", _CALL, "One spawned call.", answer=CallRecord, query=(_WAIT,), errors=(404, 422)),
    Operation("delete", _CALL, "Cancel a spawned call.", answer=CallRecord, errors=(404,)),
    Operation("get", _CALL + "/result", "Its result, as the function gave it.", answer=_OCTETS,
              query=(_WAIT,), errors=(404, 410, 422, 500, 502, 504)),
    Operation("post", _CALL + "/retry", "Run a call again that was given up.", 202, RetryRequest | None,
              CallRecord, errors=(400, 404, 409, 413, 422)),
    Operation("get", "/system/secrets", "Names of secrets.", answer=list[SecretName],
              query=(_NAMESPACE,), errors=(400,)),
    Operation("post", "/system/secrets", "Store a secret.", 201, Secret, errors=_WRITES),
    Operation("put", "/system/secrets", "Store a secret.", 201, Secret, errors=_WRITES),
    Operation("delete", "/system/secrets", "Remove a secret.", 202, SecretName, errors=_WRITES),
    Operation("get", "/system/info", "Version, nodes, isolation.", answer=PlatformInfo),
    Operation("get", "/system/load", "What every function does at this moment.", answer=Load),
    Operation("get", "/system/devices", "Devices: what lies there, what waits for it.",
              answer=list[DeviceStatus]),
    Operation("post", "/system/devices", "Break a device, or make it whole again: for tests and drills.", 202,
              DeviceFault, errors=(400, 404, 413, 422, 503)),
    Operation("get", "/system/explain/{request}", "Why a request went where it went, from the journal.",
              answer=Explanation, errors=(404, 503)),
    Operation("get", "/metrics", "Metrics for Prometheus.", answer=_TEXT),
    Operation("get", "/openapi.json", "This description.", answer=dict[str, Any],
              query=(("function", _STRING, "Only of this function."), _NAMESPACE), errors=(400, 404)),
    Operation("get", "/docs", "This description, to look at.", answer="text/html"),
    Operation("get", "/livez", "Whether the server runs.", answer=_TEXT),
    Operation("get", "/readyz", "Whether it takes requests.", answer=_TEXT, errors=(503,)),
    Operation("get", "/healthz", "Whether it takes requests.", answer=_TEXT, errors=(503,)),
)  # fmt: skip


def admin_components() -> dict[str, Any]:
    """The schemas of all that the admin interface takes and gives."""
    kinds = {kind for op in OPERATIONS for kind in (op.body, op.answer) if kind and not isinstance(kind, str)}
    found = msgspec.json.schema_components([*kinds, LogLine], ref_template="#/components/schemas/{name}")[1]
    return dict(sorted(found.items()))


def admin_paths() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation)
    return paths


def _described(operation: Operation) -> dict[str, Any]:
    path = operation.path
    group = path.strip("/").split("/")
    found: dict[str, Any] = {
        "operationId": operation.method + "".join(f"_{part.strip('{}')}" for part in group),
        "tags": ["admin" if group[0] == "system" else "server"],
        "summary": operation.summary,
        "parameters": [*_path_parameters(path), *({"in": "query", "name": n, "schema": s, "description": d}
                                                  for n, s, d in operation.query)],
        "responses": {
            str(operation.status): _content(operation.answer),
            **{str(s): {"$ref": f"#/components/responses/{s}"} for s in (401, *operation.errors)},
        },
    }  # fmt: skip
    if operation.body is not None:
        required = not isinstance(None, operation.body) if not isinstance(operation.body, str) else True
        found["requestBody"] = {"required": required, "content": _content(operation.body)["content"]}
    return found


def _path_parameters(path: str) -> list[dict[str, Any]]:
    schemas: dict[str, Any] = {
        "name": {**_STRING, "description": "name, or name.namespace"},
        "direction": {"enum": ["climb", "descend"]},
        "request": {"type": "integer", "minimum": 0},
        "call": _STRING,
    }
    return [
        {"in": "path", "name": name, "required": True, "schema": schema}
        for name, schema in schemas.items()
        if f"{{{name}}}" in path
    ]


def _content(kind: Any) -> dict[str, Any]:
    if kind is None:
        return {"description": "Accepted."}
    if isinstance(kind, str):
        return {"description": "As asked.", "content": {kind: {"schema": {}}}}
    (schema,), _ = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
    return {"description": "As asked.", "content": {_JSON: {"schema": schema}}}
