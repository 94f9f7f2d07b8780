"""Declarations: the decorators a user writes.

A declaration is data (core.specs.Declaration) plus the user's own class or function, which stays what it
was: `@app.model` returns the class itself, so its instances pickle and its methods call each other.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, Unpack

from glowplug.core.errors import InvalidDeclaration
from glowplug.core.ids import DEFAULT_NAMESPACE, check_name, function_id
from glowplug.core.specs import Declaration, EndpointSpec, Kind, Requirements
from glowplug.endpoints import MAX_WAIT_MS, endpoint_spec
from glowplug.handles import NO_ENDPOINT, Declared, Endpoint, Handle, Weights, endpoints_of, is_same
from glowplug.options import Options, declaration, requirement_lines

T = TypeVar("T", bound=type)


class App:
    """A named set of functions declared in one source file.

        app = glowplug.App("demo")

        @app.function()
        def shout(text: str) -> str:
            return text.upper()

    `requirements` are for every function that gives none of its own: see options.Options. Raises
    InvalidDeclaration at import, naming the option, when one makes no sense.
    """

    def __init__(
        self,
        name: str = "app",
        namespace: str = DEFAULT_NAMESPACE,
        *,
        requirements: str | Sequence[str] = (),
        build_from_source: bool = False,
    ) -> None:
        self.name = check_name(name, "app")
        self.namespace = check_name(namespace, "namespace")
        self.targets: dict[str, tuple[Declaration, Any]] = {}
        if type(build_from_source) is not bool:
            raise InvalidDeclaration(f"app {name}: build_from_source is True or False")
        lines = requirement_lines(requirements, f"app {name}")
        self._requirements = Requirements(lines, build_from_source=build_from_source)

    def model(self, cls: T | None = None, *, weights: Weights = None, **options: Unpack[Options]) -> Any:
        """Declares a class with a model, and returns it. Its methods:

        - `build(self)` returns the torch module, its weights unset; with them it is `self.model`;
        - `setup(self)` makes what else each process needs; there is one of the two at least;
        - `example(self)` returns the arguments of one request, by name: deploy runs it, to learn what is used
          when;
        - each method marked with `glowplug.endpoint` is one that requests may call.

        `weights` is a path beside the source file, or a callable that returns a path or a state dict and
        runs where the function builds. `options` are those of glowplug.options.Options.
        """

        def declare(owner: T) -> T:
            if not (callable(getattr(owner, "build", None)) or callable(getattr(owner, "setup", None))):
                raise InvalidDeclaration(
                    f"model {owner.__name__}: give it a build(self) or a setup(self) method"
                )
            for name in ("build", "setup", "example"):
                if inspect.iscoroutinefunction(getattr(owner, name, None)):
                    raise InvalidDeclaration(
                        f"model {owner.__name__}: {name} may not be async, for nothing would await it: write "
                        "plain def, and asyncio.run(...) in it for what has to be awaited"
                    )
            endpoints = endpoints_of(owner)
            if not endpoints:
                raise InvalidDeclaration(
                    f"model {owner.__name__}: mark at least one method with @glowplug.endpoint"
                )
            earlier: Declared | None = vars(owner).get("__glowplug__")
            if earlier is not None and earlier.weights != weights:
                raise InvalidDeclaration(
                    f"model {owner.__name__} has other weights already, as {earlier.function}: "
                    "make a subclass for these"
                )
            specs = tuple(e.spec for e in endpoints.values())
            declared = self._declare(owner, "model", specs, weights, options)
            full_name = function_id(declared.name, declared.namespace)
            at_home = _is_running(owner.__module__) or (earlier is not None and earlier.at_home)
            owner.__glowplug__ = Declared(full_name, declared, weights, at_home)  # type: ignore[attr-defined]
            return owner

        return declare(cls) if cls is not None else declare

    def function(
        self,
        call: Callable[..., Any] | None = None,
        *,
        max_batch: int = 1,
        max_wait_ms: float = MAX_WAIT_MS,
        idempotent: bool = False,
        **options: Unpack[Options],
    ) -> Any:
        """Declares a plain function; it has one endpoint, of its own name. `max_batch`, `max_wait_ms` and
        `idempotent` are as for `glowplug.endpoint`, `options` those of glowplug.options.Options."""

        def declare(target: Callable[..., Any]) -> Handle:
            if isinstance(target, Endpoint):
                raise InvalidDeclaration(f"function {target.spec.name}: {NO_ENDPOINT}")
            _refuse_method(target)
            spec = endpoint_spec(target, max_batch=max_batch, max_wait_ms=max_wait_ms, idempotent=idempotent)
            declared = self._declare(target, "function", (spec,), None, options)
            return Handle(target, function_id(declared.name, self.namespace), spec)

        return declare(call) if call is not None else declare

    def _declare(
        self, target: Any, kind: Kind, endpoints: tuple[EndpointSpec, ...], weights: Weights, given: Options
    ) -> Declaration:
        found = declaration(target, kind, self.namespace, endpoints, weights, given, self._requirements)
        if found.name in self.targets:
            raise InvalidDeclaration(f"{kind} {found.name} is declared twice in app {self.name}")
        for other, held in self.targets.values():
            if (other.module, other.qualname) == (found.module, found.qualname) and (
                kind == "model" or not is_same(held, target)
            ):
                how = "make a subclass" if kind == "model" else f"call one of the two {kind}s something else"
                raise InvalidDeclaration(f"{found.qualname} is declared already, as {other.name}: {how}")
        self.targets[found.name] = (found, target)
        return found


def _refuse_method(target: Any) -> None:
    """Nobody would give it its self."""
    outside, _, _ = getattr(target, "__qualname__", "").rpartition(".")
    if not outside or outside.endswith(">"):
        return
    if next(iter(inspect.signature(target).parameters), "") == "self":
        raise InvalidDeclaration(
            f"function {target.__name__} is a method of {outside}: declare functions at the top of a module,"
            " or the class with @app.model and its methods with @glowplug.endpoint"
        )


def _is_running(module: str) -> bool:
    """Whether the code at the top of `module` is what called, directly or not."""
    return any(
        frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == module
        for frame, _ in traceback.walk_stack(inspect.currentframe())
    )
