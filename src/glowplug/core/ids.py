"""Identifiers, and the rules that keep a hostile name from becoming a path."""

from __future__ import annotations

import re
from typing import NewType

from glowplug.core.errors import InvalidName

FunctionId = NewType("FunctionId", str)
"""`name.namespace`, as in URLs: neither part may hold a dot."""
VersionId = NewType("VersionId", str)
"""First 16 hex digits of the hash of (function, upload, declaration, environment)."""
EnvironmentId = NewType("EnvironmentId", str)
"""First 16 hex digits of the hash of (interpreter, installed packages, libraries, required packages)."""
PackagesId = NewType("PackagesId", str)
"""First 16 hex digits of the hash of (requirements, wheels that came with them, interpreter, platform)."""
NodeId = NewType("NodeId", str)
InstanceId = NewType("InstanceId", int)
RequestId = NewType("RequestId", int)
CommandId = NewType("CommandId", int)
GatewayId = NewType("GatewayId", str)
DeviceId = NewType("DeviceId", str)
"""`node/device`: devices of all nodes have different ones."""

DEFAULT_NAMESPACE = "default"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")


def check_name(name: str, what: str = "function") -> str:
    """Returns `name` when it is 1-63 of [a-z0-9_-] and starts and ends with a letter or digit.

    Raises InvalidName (status 400), quoting at most 80 characters of what came in, and `name` in
    lower case where that is allowed: so a class is called that was declared without name=.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        shown = name if not isinstance(name, str) or len(name) <= 80 else name[:77] + "..."
        lower = name.lower() if isinstance(name, str) else ""
        meant = f": did you mean {lower!r}?" if _NAME.fullmatch(lower) else ""
        raise InvalidName(
            f"{what} name {shown!r} is not allowed: use 1 to 63 of a-z, 0-9, '-' and '_', "
            f"starting and ending with a letter or a digit{meant}"
        )
    return name


def check_variable(name: str, what: str = "environment variable") -> str:
    """Returns `name` when it can be one of an environment variable. Raises InvalidName."""
    if not _VARIABLE.fullmatch(name):
        raise InvalidName(
            f"{what} name {name[:80]!r} is not allowed: use 1 to 200 letters, digits and '_', no digit first"
        )
    return name


def function_id(name: str, namespace: str = DEFAULT_NAMESPACE) -> FunctionId:
    """Joins a checked name and namespace. Raises InvalidName."""
    return FunctionId(f"{check_name(name)}.{check_name(namespace, 'namespace')}")


def parse_function_id(text: str) -> FunctionId:
    """Reads `name` or `name.namespace` as it stands in a URL. Raises InvalidName."""
    name, dot, namespace = text.partition(".")
    return function_id(name, namespace if dot else DEFAULT_NAMESPACE)


def split_function_id(function: FunctionId) -> tuple[str, str]:
    """Returns (name, namespace)."""
    name, _, namespace = function.partition(".")
    return name, namespace
