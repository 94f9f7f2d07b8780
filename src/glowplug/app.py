"""Declarations: the decorators a user writes, and the handles they leave behind.

A declaration is data (core.specs.Declaration) plus the user's own class or function, which stays what it
was: `@app.model` returns the class itself, so its instances pickle and its methods call each other.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec

from glowplug.core.errors import InvalidDeclaration
from glowplug.core.ids import DEFAULT_NAMESPACE, check_name, function_id
from glowplug.core.priority import PriorityLabel, rank_of
from glowplug.core.specs import (
    MOST_AT_ONCE,
    MOST_THREADS,
    Declaration,
    EndpointSpec,
    Kind,
    Requirements,
)
from glowplug.core.units import parse_bytes, parse_seconds
from glowplug.endpoints import MAX_WAIT_MS, answer_one, endpoint_spec

if TYPE_CHECKING:
    from glowplug.call import Call

T = TypeVar("T", bound=type)
Weights = str | Callable[[], Any] | None


class Handle:
    """Calls one endpoint: `handle(...)` as it is written, `.local(...)` as one request would be answered, in
    this process, and `.remote(...)` and `.map(...)` on a server.

    An endpoint with `max_batch` takes lists when it is called, and one request's arguments everywhere else.
    One that yields gives an iterator. What asks a server goes to GLOWPLUG_URL, else to http://localhost:8000,
    and raises an error that says what to run when nothing answers there.
    """

    def __init__(self, call: Callable[..., Any], function: str, spec: EndpointSpec) -> None:
        functools.update_wrapper(self, call)
        self.call = call
        self.function = function
        self.spec = spec

    @property
    def endpoint(self) -> str:
        return self.spec.name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)

    def local(self, *args: Any, **kwargs: Any) -> Any:
        return answer_one(self.call, self.spec, self._bound(args, kwargs))

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """The answer of the deployed function, or an iterator of what it yields as it comes. Raises
        core.errors by the server's own codes."""
        from glowplug.client import Client  # not imported where functions run

        arguments = self._bound(args, kwargs)
        if self.spec.streams:
            return self._streamed(arguments)
        with Client() as client:
            return client.invoke(self.function, arguments, endpoint=self.endpoint)

    def map(
        self, *iterables: Iterable[Any], concurrency: int = 16, return_exceptions: bool = False
    ) -> Iterator[Any]:
        """The answers to `.remote(...)` for each of `iterables`' items, in their order, as they come; with
        several iterables one argument from each. `concurrency` are asked at once, and the next only when an
        answer has been taken. The first error ends it, unless errors are returned in their places.
        """
        from glowplug.client import Client

        def answers() -> Iterator[Any]:
            arguments = (self._bound(items, {}) for items in zip(*iterables, strict=False))
            with Client() as client:
                yield from client.map(
                    self.function,
                    arguments,
                    self.endpoint,
                    concurrency=concurrency,
                    return_exceptions=return_exceptions,
                )

        return answers()

    def _bound(self, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arguments by name. Raises TypeError, as a call would."""
        return dict(inspect.signature(self.call).bind(*args, **kwargs).arguments)

    def _streamed(self, arguments: dict[str, Any]) -> Iterator[Any]:
        from glowplug.client import Client

        with Client() as client, client.stream(self.function, arguments, self.endpoint) as items:
            yield from items

    def spawn(self, *args: Any, **kwargs: Any) -> Call:
        """Hands the call to the server and returns once that has stored it; its answer is asked for later.
        `Client.spawn` has options: deadlines, an idempotency key, a callback."""
        from glowplug.call import Call
        from glowplug.client import Client

        arguments = self._bound(args, kwargs)
        with Client() as client:
            call = client.spawn(self.function, arguments, endpoint=self.endpoint)
        return Call(client, call.id, owns_client=True)


class Endpoint:
    """A method that answers requests. On an instance it is that method; on the class it is a Handle."""

    def __init__(
        self,
        method: Callable[..., Any],
        max_batch: int = 1,
        max_wait_ms: float = 0.0,
        idempotent: bool = False,
    ) -> None:
        self.__doc__ = method.__doc__
        self.method = method
        self.spec = endpoint_spec(
            method, skip=1, max_batch=max_batch, max_wait_ms=max_wait_ms, idempotent=idempotent
        )

    def __set_name__(self, owner: type, name: str) -> None:
        self.spec = msgspec.structs.replace(self.spec, name=name)

    def __get__(self, instance: Any, owner: type) -> Handle:
        target = instance if instance is not None else _LocalInstance(owner)
        call = functools.partial(self.method, target) if instance is not None else target.caller(self.method)
        declared = getattr(owner, "__glowplug__", Declared(owner.__name__))
        return Handle(call, declared.function, self.spec)


class _LocalInstance:
    """A class-level `.local()` builds the model in this process, once, weights and all."""

    def __init__(self, owner: type) -> None:
        self.owner = owner

    def caller(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            from glowplug.bundle.instantiate import local_instance

            return method(local_instance(self.owner), *args, **kwargs)

        signature = inspect.signature(method)
        parameters = list(signature.parameters.values())[1:]
        call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return functools.wraps(method, assigned=("__name__", "__doc__"), updated=())(call)


def endpoints_of(owner: type) -> dict[str, Endpoint]:
    """Every endpoint of a class by its name, inherited ones first, in order of declaration."""
    mro = reversed(owner.__mro__)
    return {name: value for base in mro for name, value in vars(base).items() if isinstance(value, Endpoint)}


class Declared:
    """What `@app.model` leaves on a class as `__glowplug__`: its declaration and its weights."""

    def __init__(
        self, function: str, declaration: Declaration | None = None, weights: Weights = None
    ) -> None:
        self.function = function
        self.declaration = declaration
        self.weights = weights


@overload
def endpoint(method: Callable[..., Any]) -> Endpoint: ...
@overload
def endpoint(
    *, max_batch: int = 1, max_wait_ms: float = MAX_WAIT_MS, idempotent: bool = False
) -> Callable[[Callable[..., Any]], Endpoint]: ...
def endpoint(
    method: Callable[..., Any] | None = None,
    *,
    max_batch: int = 1,
    max_wait_ms: float = MAX_WAIT_MS,
    idempotent: bool = False,
) -> Any:
    """Marks a method of an `@app.model` class as one that requests may call.

        @glowplug.endpoint(max_batch=8, max_wait_ms=2)
        def embed(self, text: list[str]) -> list[list[float]]:
            return self.model(text)

    With `max_batch` the method gets the arguments of up to so many requests at once, a list for each
    parameter, and returns a list of as many results; an exception in that list is one request's error. A
    request sends and gets single values. `max_wait_ms` bounds how long requests wait for each other, when
    more are expected. A method that yields answers with a stream.

    `idempotent` says that answering one call twice does no harm: a spawned call is then run at least once,
    and sent again when its worker or the server dies. Without it a spawned call runs at most once.
    """
    if method is not None:
        return Endpoint(method)
    return lambda wrapped: Endpoint(wrapped, max_batch, max_wait_ms, idempotent)


class App:
    """A named set of functions declared in one source file.

        app = glowplug.App("demo")

        @app.function()
        def shout(text: str) -> str:
            return text.upper()

    `requirements` are for every function that gives none of its own: see `model`. Raises
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
        self._wanted = _requirement_lines(requirements, f"app {name}")
        self._build_from_source = build_from_source

    def model(
        self,
        cls: T | None = None,
        *,
        weights: Weights = None,
        name: str | None = None,
        libraries: Sequence[str] = (),
        memory: str | int = "512MB",
        keep_warm: str | float = "5m",
        timeout: str | float = "60s",
        max_queue: int = 100,
        min_workers: int = 0,
        max_workers: int = 1,
        target_concurrency: int = 1,
        threads: int = 0,
        priority: PriorityLabel = "interactive",
        network: bool = False,
        prewarm: str = "fixed",
        env: dict[str, str] | None = None,
        secrets: Sequence[str] = (),
        include: Sequence[str] = (),
        requirements: str | Sequence[str] | None = None,
        build_from_source: bool | None = None,
    ) -> Any:
        """Declares a class with a model. See docs for the methods it may have: build, setup, example.

        `weights` is a path beside the source file, or a callable that returns a path or a state dict and
        runs where the function builds. `libraries` are imported once, in the environment's zygote. Without
        `network` there is none, neither where it builds nor where it answers.

        `min_workers` stay parked and up to `max_workers` climb when the queue would take longer than a climb;
        each runs `target_concurrency` requests at once and computes with `threads` threads (0: the cores
        divided over `max_workers`). `priority` is `interactive`, `batch` or `background`.

        `requirements` are installed once, at deploy, for all that ask for the same: lines as pip has them
        (`["numpy==1.26.4"]`), or a file beside the source (`"requirements.txt"`, `"pylock.toml"`). What they
        do not install comes from the server's own packages. Only wheels are installed, unless
        `build_from_source` lets packages run their own code to build one.
        """

        def declare(owner: T) -> T:
            if not (callable(getattr(owner, "build", None)) or callable(getattr(owner, "setup", None))):
                raise InvalidDeclaration(
                    f"model {owner.__name__}: give it a build(self) or a setup(self) method"
                )
            endpoints = endpoints_of(owner)
            if not endpoints:
                raise InvalidDeclaration(
                    f"model {owner.__name__}: mark at least one method with @glowplug.endpoint"
                )
            declaration = self._declare(
                owner, "model", name,
                endpoints=tuple(e.spec for e in endpoints.values()),
                weights=weights, libraries=libraries, memory=memory, keep_warm=keep_warm, timeout=timeout,
                max_queue=max_queue, min_workers=min_workers, max_workers=max_workers,
                target_concurrency=target_concurrency, threads=threads, priority=priority, network=network,
                prewarm=prewarm, env=env, secrets=secrets, include=include,
                requirements=requirements, build_from_source=build_from_source,
            )  # fmt: skip
            full_name = function_id(declaration.name, declaration.namespace)
            owner.__glowplug__ = Declared(full_name, declaration, weights)  # type: ignore[attr-defined]
            return owner

        return declare(cls) if cls is not None else declare

    def function(
        self,
        call: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        max_batch: int = 1,
        max_wait_ms: float = MAX_WAIT_MS,
        libraries: Sequence[str] = (),
        memory: str | int = "256MB",
        keep_warm: str | float = "5m",
        timeout: str | float = "60s",
        max_queue: int = 100,
        min_workers: int = 0,
        max_workers: int = 1,
        target_concurrency: int = 1,
        threads: int = 0,
        priority: PriorityLabel = "interactive",
        network: bool = False,
        prewarm: str = "fixed",
        env: dict[str, str] | None = None,
        secrets: Sequence[str] = (),
        include: Sequence[str] = (),
        idempotent: bool = False,
        requirements: str | Sequence[str] | None = None,
        build_from_source: bool | None = None,
    ) -> Any:
        """Declares a plain function; it has one endpoint, of its own name. `max_batch`, `max_wait_ms` and
        `idempotent` are as for `glowplug.endpoint`."""

        def declare(target: Callable[..., Any]) -> Handle:
            spec = endpoint_spec(target, max_batch=max_batch, max_wait_ms=max_wait_ms, idempotent=idempotent)
            declaration = self._declare(
                target, "function", name, endpoints=(spec,), weights=None,
                libraries=libraries, memory=memory, keep_warm=keep_warm, timeout=timeout,
                max_queue=max_queue, min_workers=min_workers, max_workers=max_workers,
                target_concurrency=target_concurrency, threads=threads, priority=priority, network=network,
                prewarm=prewarm, env=env, secrets=secrets, include=include,
                requirements=requirements, build_from_source=build_from_source,
            )  # fmt: skip
            return Handle(target, function_id(declaration.name, self.namespace), spec)

        return declare(call) if call is not None else declare

    def _declare(
        self,
        target: Any,
        kind: Kind,
        name: str | None,
        *,
        endpoints: tuple[EndpointSpec, ...],
        weights: Weights,
        libraries: Sequence[str],
        memory: str | int,
        keep_warm: str | float,
        timeout: str | float,
        max_queue: int,
        min_workers: int,
        max_workers: int,
        target_concurrency: int,
        threads: int,
        priority: PriorityLabel,
        network: bool,
        prewarm: str,
        env: dict[str, str] | None,
        secrets: Sequence[str],
        include: Sequence[str],
        requirements: str | Sequence[str] | None,
        build_from_source: bool | None,
    ) -> Declaration:
        own_name = check_name(name if name is not None else target.__name__.lower())
        what = f"{kind} {own_name}"
        if isinstance(libraries, str) or isinstance(secrets, str) or isinstance(include, str):
            raise InvalidDeclaration(
                f"{what}: libraries, secrets and include are lists of names, not one string"
            )
        if weights is not None and not isinstance(weights, str) and not callable(weights):
            raise InvalidDeclaration(f"{what}: weights is a path beside the source file, or a callable")
        if max_queue < 1 or max_workers < 1 or not 0 <= min_workers <= max_workers:
            raise InvalidDeclaration(f"{what}: need max_queue >= 1 and 0 <= min_workers <= max_workers >= 1")
        if not 1 <= target_concurrency <= MOST_AT_ONCE or not 0 <= threads <= MOST_THREADS:
            raise InvalidDeclaration(
                f"{what}: need 1 <= target_concurrency <= {MOST_AT_ONCE} and 0 <= threads <= {MOST_THREADS}"
            )
        try:
            rank_of(priority)
        except ValueError as error:
            raise InvalidDeclaration(f"{what}: priority: {error}") from None
        if own_name in self.targets:
            raise InvalidDeclaration(f"{what} is declared twice in app {self.name}")
        declaration = Declaration(
            name=own_name, kind=kind, module=target.__module__, qualname=target.__qualname__,
            namespace=self.namespace, endpoints=endpoints,
            weights=weights if isinstance(weights, str) else None, libraries=tuple(libraries),
            memory_bytes=parse_bytes(memory, f"{what}: memory"),
            keep_warm_s=parse_seconds(keep_warm, f"{what}: keep_warm"),
            timeout_s=parse_seconds(timeout, f"{what}: timeout"),
            max_queue=max_queue, min_workers=min_workers, max_workers=max_workers,
            target_concurrency=target_concurrency, threads=threads, priority=priority, network=network,
            prewarm=prewarm,
            env=dict(env or {}), secrets=tuple(secrets), include=tuple(include),
            requirements=self._requirements(requirements, build_from_source, what),
            doc=inspect.getdoc(target) or "",
        )  # fmt: skip
        self.targets[own_name] = (declaration, target)
        return declaration

    def _requirements(
        self, wanted: str | Sequence[str] | None, build_from_source: bool | None, what: str
    ) -> Requirements | None:
        """A function's own, else the app's."""
        lines = self._wanted if wanted is None else _requirement_lines(wanted, what)
        from_source = self._build_from_source if build_from_source is None else build_from_source
        return Requirements(lines, build_from_source=from_source) if lines else None


def _requirement_lines(wanted: str | Sequence[str], what: str) -> tuple[str, ...]:
    """One string is the name of a file. Raises InvalidDeclaration."""
    if isinstance(wanted, str):
        if not wanted.endswith((".txt", ".in", ".toml", ".lock")):
            raise InvalidDeclaration(
                f"{what}: requirements is a list of lines, or a requirements file's name, not {wanted[:80]!r}"
            )
        return (f"-r {wanted}",)
    if not all(isinstance(line, str) for line in wanted):
        raise InvalidDeclaration(f"{what}: requirements is a list of text, such as ['numpy==1.26.4']")
    return tuple(wanted)
