"""What an endpoint's signature says, and how it answers one request in this process."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from glowplug.core.batches import columns, rows
from glowplug.core.errors import InvalidDeclaration
from glowplug.core.specs import LONGEST_BATCH_WAIT_S, MOST_AT_ONCE, EndpointSpec, Parameter

MAX_WAIT_MS = 2.0
"""How long requests wait for each other where an endpoint with `max_batch` does not say."""
_LIST = re.compile(r"(?:\w+\.)*(?:list|List|Sequence|Iterable)(?:\[(.*)\])?", re.DOTALL)


def endpoint_spec(
    method: Callable[..., Any],
    skip: int = 0,
    max_batch: int = 1,
    max_wait_ms: float = 0.0,
    idempotent: bool = False,
) -> EndpointSpec:
    """Describes a callable by its signature, without its first `skip` parameters. Raises InvalidDeclaration
    for what has no name (`*args`, `**kwargs`, what stands before a `/`) or cannot be called in batches."""
    if isinstance(method, (staticmethod, classmethod)) or not callable(method):
        raise InvalidDeclaration(
            f"an endpoint is a plain method with self first, or a function, not {type(method).__name__}"
        )
    name = method.__name__
    if type(idempotent) is not bool:
        raise InvalidDeclaration(f"endpoint {name}: idempotent is True or False, not {idempotent!r}")
    if type(max_batch) is not int or not 1 <= max_batch <= MOST_AT_ONCE:
        raise InvalidDeclaration(f"endpoint {name}: max_batch is a number from 1 to {MOST_AT_ONCE}")
    if not isinstance(max_wait_ms, (int, float)) or not 0 <= max_wait_ms <= LONGEST_BATCH_WAIT_S * 1000:
        raise InvalidDeclaration(f"endpoint {name}: max_wait_ms is from 0 to {LONGEST_BATCH_WAIT_S * 1000:g}")
    signature = inspect.signature(method)
    parameters = []
    for parameter in list(signature.parameters.values())[skip:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise InvalidDeclaration(
                f"endpoint {name}: name each argument; *{parameter.name} cannot be validated"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise InvalidDeclaration(
                f"endpoint {name}: arguments come by name, so {parameter.name} may not stand before a /"
            )
        shown = _shown(parameter.annotation, parameter.empty)
        is_required = parameter.default is parameter.empty
        if max_batch > 1:
            if not is_required:
                raise InvalidDeclaration(
                    f"endpoint {name}: with max_batch no argument has a default; {parameter.name} has one"
                )
            shown = _element(name, parameter.name, shown)
        parameters.append(Parameter(parameter.name, shown, is_required))
    returns = _shown(signature.return_annotation, signature.empty)
    streams = inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method)
    if max_batch > 1:
        if streams or not parameters:
            raise InvalidDeclaration(f"endpoint {name}: with max_batch it must take arguments, and not yield")
        returns = _element(name, "return", returns)
    return EndpointSpec(
        name=name,
        parameters=tuple(parameters),
        returns=returns,
        doc=inspect.getdoc(method) or "",
        max_batch=max_batch,
        max_wait_s=max_wait_ms / 1000 if max_batch > 1 else 0.0,
        streams=streams,
        is_async=inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method),
        idempotent=idempotent,
    )


def _shown(annotation: Any, empty: Any) -> str:
    return "Any" if annotation is empty else inspect.formatannotation(annotation).strip("'")


def _element(endpoint: str, parameter: str, shown: str) -> str:
    """T of `list[T]`, as text."""
    found = _LIST.fullmatch(shown)
    if found is None and shown != "Any":
        raise InvalidDeclaration(
            f"endpoint {endpoint}: with max_batch it takes and returns lists; "
            f"write list[{shown}] where {parameter} is {shown}"
        )
    return (found.group(1) if found is not None else None) or "Any"


def answer_one(call: Callable[..., Any], spec: EndpointSpec, arguments: dict[str, Any]) -> Any:
    """The answer to one request, or an iterator of what it yields; raises what the function raises."""
    if spec.max_batch == 1:
        return _awaited(call(**arguments))
    result = _awaited(call(**columns([arguments])))
    (answer,) = rows(result, 1, spec.name)
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _awaited(result: Any) -> Any:
    if not (inspect.iscoroutine(result) or inspect.isasyncgen(result)):
        return result
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        how = "async for item in f(...)" if inspect.isasyncgen(result) else "await f(...)"
        if inspect.iscoroutine(result):
            result.close()
        raise RuntimeError(
            f"an event loop runs here already, as in a notebook: write {how}, not f.local(...)"
        )
    return asyncio.run(result) if inspect.iscoroutine(result) else _drained(result)


def _drained(items: AsyncIterator[Any]) -> Iterator[Any]:
    import asyncio

    with asyncio.Runner() as runner:

        async def following() -> Any:
            return await anext(items)

        while True:
            try:
                item = runner.run(following())
            except StopAsyncIteration:
                return
            yield item
