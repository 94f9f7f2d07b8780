"""From a deploy request to a version: its upload's declaration, changed as the request says, and checked."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from glowplug.bundle.manifest import environment_id, version_id
from glowplug.bundle.store import BundleStore
from glowplug.bundle.uploads import find_declaration
from glowplug.core.errors import InvalidDeclaration
from glowplug.core.ids import FunctionId, PackagesId, check_variable
from glowplug.core.requirements import check_requirements
from glowplug.core.specs import Declaration, FunctionSpec
from glowplug.core.units import parse_bytes
from glowplug.gateway.platform import DeployRequest
from glowplug.policy.registry import policy_class
from glowplug.server.database import Database

_MAX_VARIABLE_CHARS = 16_384
_MAX_VARIABLES_BYTES = 24 * 1024
_MAX_ENDPOINTS_BYTES = 64 * 1024
"""Both go to a node in one message (node.wire), variables that are no secrets twice."""


def specify(
    function: FunctionId, request: DeployRequest, store: BundleStore, database: Database
) -> FunctionSpec:
    """The version that a deploy asks for. Raises InvalidUpload, InvalidName, InvalidDeclaration."""
    declaration = find_declaration(store.upload_path(request.image), request.service)
    changes: dict[str, Any] = {"namespace": request.namespace, "env": declaration.env | request.envVars}
    if request.secrets:
        changes["secrets"] = tuple(dict.fromkeys((*declaration.secrets, *request.secrets)))
    if request.limits is not None and request.limits.memory:
        changes["memory_bytes"] = parse_bytes(_si(request.limits.memory), "limits.memory")
    declaration = msgspec.structs.replace(declaration, **changes)
    declaration.check_memory()
    if declaration.prewarm != "auto":
        policy_class("prewarm", declaration.prewarm)
    _check_endpoints(declaration)
    _check_variables(declaration, database)
    packages = PackagesId("")
    if declaration.requirements is not None:
        check_requirements(declaration.requirements, declaration.name)
        code = store.upload_path(request.image) / "code"
        packages = store.environments.keep_request(declaration.requirements, code, declaration.libraries)
        declaration = msgspec.structs.replace(declaration, requirements=None)
    environment = environment_id(declaration.libraries, packages)
    version = version_id(function, request.image, declaration, environment)
    return FunctionSpec(
        function, version, request.namespace, environment, request.image, declaration, time.time(), packages
    )


def _check_endpoints(declaration: Declaration) -> None:
    endpoints_bytes = len(msgspec.msgpack.encode(declaration.endpoints))
    if endpoints_bytes > _MAX_ENDPOINTS_BYTES:
        raise InvalidDeclaration(
            f"{declaration.name}: its endpoints' descriptions and schemas have {endpoints_bytes} bytes "
            f"together, and may have {_MAX_ENDPOINTS_BYTES}: make docstrings shorter, or divide it into "
            "several functions"
        )


def _check_variables(declaration: Declaration, database: Database) -> None:
    for name, value in declaration.env.items():
        check_variable(name)
        if "\0" in value or len(value) > _MAX_VARIABLE_CHARS:
            raise InvalidDeclaration(
                f"{declaration.name}: variable {name} has more than {_MAX_VARIABLE_CHARS} characters, "
                "or one of them is zero"
            )
    held = database.secrets(declaration.namespace)
    missing = [name for name in declaration.secrets if name not in held]
    if missing:
        raise InvalidDeclaration(
            f"{declaration.name}: no secret {', '.join(missing)} in namespace {declaration.namespace}; "
            f"store it first: glowplug secret set {missing[0]}"
        )
    values = [*declaration.env.values(), *(held[name] for name in declaration.secrets)]
    variables_bytes = sum(len(value.encode()) for value in values)
    if variables_bytes > _MAX_VARIABLES_BYTES:
        raise InvalidDeclaration(
            f"{declaration.name}: its variables and secrets have {variables_bytes} bytes together, and may "
            f"have {_MAX_VARIABLES_BYTES}: put what is longer into a file (include=)"
        )


def _si(text: str) -> str:
    """Kubernetes writes `512Mi`; we write `512MiB`."""
    return text + "B" if text[-1:] == "i" else text
