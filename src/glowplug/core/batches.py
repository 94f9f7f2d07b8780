"""Several requests as one call, and its result as one answer each."""

from __future__ import annotations

from typing import Any

from glowplug.core.errors import FunctionFailed


def columns(requests: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Requests, each with the same arguments by name, as lists of each argument's values. `requests` is empty
    then: what big arguments lie in is free as soon as nobody holds them."""
    found = {name: [request[name] for request in requests] for name in requests[0]}
    requests.clear()
    return found


def rows(result: Any, count: int, endpoint: str) -> list[Any]:
    """One result for each of `count` requests; one may be an exception. Raises FunctionFailed when the
    endpoint returned something else."""
    if isinstance(result, (str, bytes, dict, set)) or not hasattr(result, "__len__"):
        raise FunctionFailed(
            f"endpoint {endpoint} takes batches and must return a list, not {type(result).__name__}"
        )
    try:
        found = list(result)
    except TypeError as error:
        raise FunctionFailed(f"endpoint {endpoint} must return a list: {error}") from None
    if len(found) != count:
        raise FunctionFailed(
            f"endpoint {endpoint} returned {len(found)} results for {count} requests: return one for each"
        )
    return found
