"""Whether a request can bring what an endpoint takes: said at deploy; otherwise each call would fail."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from glowplug.bundle.stand_ins import StandIn, StandInFinder
from glowplug.core.annotations import hints_of
from glowplug.core.errors import InvalidDeclaration

_COME = (dict, list, str, int, float, bool, bytes, type(None))
"""What bodies become where nothing says more."""
_PYDANTIC = "pydantic"
_INSTEAD = "take a dataclass, a TypedDict or a msgspec.Struct, whose fields are checked"


def check_arguments(call: Callable[..., Any], skip: int) -> None:
    """Raises InvalidDeclaration, naming the first argument of `call`, without its first `skip` parameters,
    that no request can bring. One with a default need not come, but a pydantic model was meant to."""
    hints = hints_of(call)
    for parameter in list(inspect.signature(call).parameters.values())[skip:]:
        for kind in _classes(hints.get(parameter.name, Any)):
            what = f"endpoint {call.__name__}: argument {parameter.name!r} is a"
            if _is_pydantic(kind):
                raise InvalidDeclaration(
                    f"{what} pydantic model, {kind.__name__}, which requests do not become: {_INSTEAD} too, "
                    f"or a dict, and call {kind.__name__}.model_validate on it"
                )
            if parameter.default is parameter.empty and not _may_come(kind):
                raise InvalidDeclaration(
                    f"{what} {kind.__name__}, which no request can bring: take what JSON has or an array, "
                    f"and make a {kind.__name__} of it; for several fields {_INSTEAD}"
                )
        if parameter.default is parameter.empty:
            _check_readable(call.__name__, parameter.name, hints.get(parameter.name, Any))


def _check_readable(endpoint: str, name: str, kind: Any) -> None:
    """Several classes in one union that JSON does not tell apart, limits that do not fit their type, fields
    of a type that there is not."""
    if any(isinstance(finder, StandInFinder) for finder in sys.meta_path):
        return  # the real types are where it will run
    try:
        msgspec.json.Decoder(kind)
    except Exception as error:
        raise InvalidDeclaration(
            f"endpoint {endpoint}: argument {name!r} cannot be read from a request: {error}"
        ) from None


def _classes(kind: Any) -> Iterator[type]:
    """Those that an annotation is made of."""
    origin = typing.get_origin(kind)
    if origin is None:
        if isinstance(kind, type):
            yield kind
    elif origin is typing.Annotated:
        yield from _classes(typing.get_args(kind)[0])
    elif origin in (typing.Union, types.UnionType) or (isinstance(origin, type) and _may_come(origin)):
        for part in typing.get_args(kind):
            yield from _classes(part)
    elif isinstance(origin, type):
        yield origin


def _is_pydantic(kind: type) -> bool:
    """Also where pydantic is not here, but with the function."""
    return any(
        base.__module__.partition(".")[0] == _PYDANTIC
        if isinstance(base, type)
        else str(base).startswith(f"{_PYDANTIC}.")
        for base in _bases(kind)
    )


def _bases(kind: type) -> Iterator[type | StandIn]:
    for base in kind.__mro__:
        yield base
        yield from (each for each in vars(base).get("__orig_bases__", ()) if isinstance(each, StandIn))


def _may_come(kind: type) -> bool:
    if any(isinstance(base, StandIn) for base in _bases(kind)) or _is_array(kind):
        return True
    try:
        if not isinstance(msgspec.inspect.type_info(kind), msgspec.inspect.CustomType):
            return True
        return any(issubclass(each, kind) for each in _COME)
    except Exception:  # a user's classes may do anything, and are no reason not to deploy
        return True


def _is_array(kind: type) -> bool:
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    return (numpy is not None and issubclass(kind, (numpy.ndarray, numpy.generic))) or (
        torch is not None and issubclass(kind, torch.Tensor)
    )
