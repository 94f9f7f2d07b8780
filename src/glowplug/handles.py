"""What declaring leaves behind: handles that call an endpoint, here or on a server."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from types import GeneratorType
from typing import TYPE_CHECKING, Any, overload

import msgspec

from glowplug.core.errors import InvalidDeclaration
from glowplug.core.specs import Declaration, EndpointSpec
from glowplug.endpoints import MAX_WAIT_MS, answer_one, endpoint_spec

if TYPE_CHECKING:
    from glowplug.call import Call

Weights = str | Callable[[], Any] | None
READING = "GLOWPLUG_INSPECT"
"""In the environment of a process that reads what a source declares."""
NO_ENDPOINT = "@glowplug.endpoint is for methods of a class; leave it out: @app.function has its options too"


class Handle:
    """Calls one endpoint: `handle(...)` as it is written, `.local(...)` as one request would be answered, in
    this process, and `.remote(...)` and `.map(...)` on a server.

    An endpoint with `max_batch` takes lists when it is called, and one request's arguments everywhere else.
    One that yields gives an iterator. What asks a server goes to GLOWPLUG_URL, else to http://localhost:8000,
    and raises an error that says what to run when nothing answers there.
    """

    def __init__(
        self,
        call: Callable[..., Any],
        function: str,
        spec: EndpointSpec,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        functools.update_wrapper(self, call)
        self._prepare = prepare
        self.call = call
        self.function = function
        self.spec = spec

    @property
    def endpoint(self) -> str:
        """Its name."""
        return self.spec.name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)

    def local(self, *args: Any, **kwargs: Any) -> Any:
        """The answer as of one request, by this process. Raises what the function raises."""
        from glowplug.bundle.instantiate import inference_mode

        arguments = self._bound(args, kwargs)
        if self._prepare is not None:
            self._prepare()
        with inference_mode():
            answer = answer_one(self.call, self.spec, arguments)
        return _in_inference_mode(answer) if isinstance(answer, GeneratorType) else answer

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """The answer of the deployed function, or an iterator of what it yields as it comes. Raises
        core.errors by the server's own codes."""
        from glowplug.client import Client  # not imported where functions run

        self._refuse_while_read()
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

        self._refuse_while_read()

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

    def _refuse_while_read(self) -> None:
        """A deploy runs what stands at the top of a file: here first, and then where there is no network."""
        if READING in os.environ:
            raise InvalidDeclaration(
                f"{self.function} is called at the top of a module, which runs when it is deployed: call it"
                ' in a function, or under if __name__ == "__main__"'
            )

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

        self._refuse_while_read()
        arguments = self._bound(args, kwargs)
        with Client() as client:
            call = client.spawn(self.function, arguments, endpoint=self.endpoint)
        return Call(client, call.id, owns_client=True)


def _in_inference_mode(items: Iterator[Any]) -> Iterator[Any]:
    """What they yield; whoever takes it is in no other mode than before."""
    from glowplug.bundle.instantiate import inference_mode

    with closing(items):  # type: ignore[type-var]
        while True:
            with inference_mode():
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item


class Endpoint:
    """A method that answers requests. On an instance it is that method; on the class it is a Handle."""

    def __init__(
        self,
        method: Callable[..., Any],
        max_batch: int = 1,
        max_wait_ms: float = 0.0,
        idempotent: bool = False,
    ) -> None:
        if isinstance(method, Handle):
            raise InvalidDeclaration(f"function {method.spec.name}: {NO_ENDPOINT}")
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
        prepare = target.prepare if instance is None else None
        return Handle(call, declared.function, self.spec, prepare)


class _LocalInstance:
    """A class-level `.local()` builds the model in this process, once, weights and all."""

    def __init__(self, owner: type) -> None:
        self.owner = owner

    def prepare(self) -> Any:
        from glowplug.bundle.instantiate import local_instance

        return local_instance(self.owner)

    def caller(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return method(self.prepare(), *args, **kwargs)

        signature = inspect.signature(method)
        parameters = list(signature.parameters.values())[1:]
        call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return functools.wraps(method, assigned=("__name__", "__doc__"), updated=())(call)


def endpoints_of(owner: type) -> dict[str, Endpoint]:
    """Every endpoint of a class by its name, inherited ones first, in order of declaration. None in a
    subclass removes one; raises InvalidDeclaration for what else takes its place and is no endpoint."""
    found: dict[str, Endpoint] = {}
    for base in reversed(owner.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, Endpoint):
                found[name] = value
            elif name in found and value is None:
                del found[name]
            elif name in found:
                raise InvalidDeclaration(
                    f"model {owner.__name__}: mark {base.__name__}.{name} with @glowplug.endpoint too: it"
                    " takes the place of one (or set it to None, for none)"
                )
    return found


def is_same(one: Any, other: Any) -> bool:
    """Whether two targets of declarations, or their handles, run the same code."""
    one, other = (target.call if isinstance(target, Handle) else target for target in (one, other))
    return one is other


class Declared:
    """What `@app.model` leaves on a class as `__glowplug__`: its declaration and its weights. `at_home` is
    whether it was declared while its own module ran, so that whoever imports that finds it declared."""

    def __init__(
        self,
        function: str,
        declaration: Declaration | None = None,
        weights: Weights = None,
        at_home: bool = False,
    ) -> None:
        self.function = function
        self.declaration = declaration
        self.weights = weights
        self.at_home = at_home


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
