"""Declarations: what the decorators record, and what they refuse."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import glowplug
from glowplug.core.errors import InvalidDeclaration, InvalidName, Unavailable
from glowplug.core.ids import check_name
from glowplug.core.specs import MOST_COPIES, Declaration, Requirements
from glowplug.handles import endpoints_of


def declared_model(**options: Any) -> tuple[glowplug.App, type]:
    app = glowplug.App("test")

    @app.model(**options)
    class Model:
        """A model."""

        def setup(self) -> None:
            self.factor = 2

        @glowplug.endpoint
        def double(self, value: int, note: str = "") -> int:
            """Twice the value."""
            return value * self.factor

        @glowplug.endpoint
        def other(self) -> None: ...

    return app, Model


def test_a_model_declares_its_endpoints_in_order() -> None:
    app, _ = declared_model(memory="1GiB", keep_warm="90s", libraries=["json"])
    declaration, target = app.targets["model"]
    assert [e.name for e in declaration.endpoints] == ["double", "other"]
    first = declaration.endpoints[0]
    assert [(p.name, p.type, p.required) for p in first.parameters] == [
        ("value", "int", True),
        ("note", "str", False),
    ]
    assert (first.returns, first.doc) == ("int", "Twice the value.")
    assert (declaration.memory_bytes, declaration.keep_warm_s) == (2**30, 90.0)
    assert target.__name__ == "Model"


def test_a_model_that_says_nothing_has_the_defaults_of_declarations() -> None:
    app, _ = declared_model()
    declared, _ = app.targets["model"]
    assert declared == Declaration(
        name="model",
        kind="model",
        module=__name__,
        qualname=declared.qualname,
        endpoints=declared.endpoints,
        doc="A model.",
    )


def test_arguments_have_names() -> None:
    app = glowplug.App("test")

    def first(text: str, /, times: int = 1) -> str:
        return text * times

    with pytest.raises(InvalidDeclaration, match="text may not stand before a /"):
        app.function()(first)


def test_the_class_stays_what_it_was() -> None:
    _, model = declared_model()
    instance = model()
    instance.setup()
    assert instance.double(4) == 8
    assert instance.double.local(value=5) == 10
    assert inspect.isclass(model)


def test_inherited_endpoints_are_endpoints() -> None:
    app, base = declared_model()
    made = app.model(name="derived")(type("Derived", (base,), {}))
    assert list(endpoints_of(made)) == ["double", "other"]
    assert made.double.function == "derived.default"


def test_what_takes_an_endpoints_place_is_one_too() -> None:
    _, base = declared_model()

    def double(self: Any, value: int) -> int:
        return value * 3

    unmarked = type("Unmarked", (base,), {"double": double})
    with pytest.raises(InvalidDeclaration, match=r"mark Unmarked\.double with @glowplug\.endpoint too"):
        glowplug.App("test").model()(unmarked)
    marked = type("Marked", (base,), {"double": glowplug.endpoint(double)})
    assert list(endpoints_of(marked)) == ["double", "other"]
    assert endpoints_of(marked)["double"].method is double
    assert list(endpoints_of(type("Fewer", (base,), {"other": None}))) == ["double"]


def test_a_class_has_one_set_of_weights_and_one_name_in_an_app() -> None:
    app, model = declared_model(weights="small.safetensors")
    with pytest.raises(
        InvalidDeclaration, match=r"has other weights already, as model\.default: make a subc"
    ):
        glowplug.App("other").model(weights="large.safetensors")(model)
    with pytest.raises(InvalidDeclaration, match="is declared already, as model: make a subclass"):
        app.model(name="again", weights="small.safetensors")(model)
    assert list(app.targets) == ["model"]
    assert model.double.function == "model.default"  # type: ignore[attr-defined]
    glowplug.App("other").model(name="elsewhere", weights="small.safetensors")(model)
    app.model(name="large", weights="large.safetensors")(type("Large", (model,), {}))


def test_two_functions_of_one_name_are_not_told_apart_by_another() -> None:
    app = glowplug.App("test")

    @app.function(name="a")
    def predict() -> str:
        return "a"

    first = predict
    app.function(name="patient", timeout="5m")(first)
    with pytest.raises(
        InvalidDeclaration, match="predict is declared already, as a: call one of the two fun"
    ):

        @app.function(name="b")
        def predict() -> str:
            return "b"

    assert list(app.targets) == ["a", "patient"]


def test_a_class_handle_builds_the_instance_here() -> None:
    _, model = declared_model()
    assert model.double.local(21) == 42  # type: ignore[attr-defined]
    assert list(inspect.signature(model.double).parameters) == ["value", "note"]  # type: ignore[attr-defined]


def required(app: glowplug.App, **options: Any) -> Requirements | None:
    @app.function(**options)
    def f() -> None: ...

    return app.targets["f"][0].requirements


def test_requirements_are_lines_or_a_file() -> None:
    assert required(glowplug.App("a")) is None
    assert required(glowplug.App("a"), requirements=["x==1"]) == Requirements(("x==1",))
    assert required(glowplug.App("a"), requirements="more.txt") == Requirements(("-r more.txt",))
    app, _ = declared_model(requirements=["x"], build_from_source=True)
    assert app.targets["model"][0].requirements == Requirements(("x",), build_from_source=True)


def test_an_app_requires_for_those_that_require_nothing_else() -> None:
    def app() -> glowplug.App:
        return glowplug.App("a", requirements=["x"], build_from_source=True)

    assert required(app()) == Requirements(("x",), build_from_source=True)
    assert required(app(), requirements=[]) is None
    assert required(app(), requirements=["y"], build_from_source=False) == Requirements(("y",))


def test_a_function_on_a_device_has_as_many_copies_as_pay_off() -> None:
    app, _ = declared_model(device="gpu", device_memory="2GB", latency_target="200ms")
    found = app.targets["model"][0]
    assert (found.device, found.device_memory_bytes, found.latency_target_s) == ("gpu", 2 * 10**9, 0.2)
    assert found.max_workers == MOST_COPIES
    assert declared_model(device="gpu", max_workers=3)[0].targets["model"][0].max_workers == 3
    assert declared_model()[0].targets["model"][0].max_workers == 1


def test_what_awaits_is_refused_on_a_device() -> None:
    app = glowplug.App("a")
    with pytest.raises(InvalidDeclaration, match="endpoint slow may not be async"):

        @app.function(device="gpu")
        async def slow() -> None: ...


def test_a_function_is_called_as_before() -> None:
    app = glowplug.App("test")

    @app.function()
    def shout(text: str) -> str:
        return text.upper()

    assert shout("a") == shout.local("a") == "A"
    assert shout.function == "shout.default"


def test_remote_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOWPLUG_URL", "http://127.0.0.1:9")
    app = glowplug.App("test")

    @app.function()
    def shout(text: str) -> str:
        return text.upper()

    with pytest.raises(Unavailable, match="glowplug serve"):
        shout.remote("a")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"memory": "lots"}, "memory"),
        ({"keep_warm": "soon"}, "keep_warm"),
        ({"libraries": "torch"}, "libraries"),
        ({"weights": 3}, "weights"),
        ({"max_queue": 0}, "max_queue"),
        ({"max_queue": 10**20}, "max_queue and max_workers of at most"),
        ({"max_workers": 10**20}, "max_queue and max_workers of at most"),
        ({"memory": "20000000TB"}, "memory: 20000000TB is more than any machine has"),
        ({"min_workers": 2}, "min_workers"),
        ({"requirements": "numpy==1"}, "requirements is a list"),
        ({"requirements": [3]}, "requirements is a list"),
        ({"device": "tpu"}, "device is 'cpu' or 'gpu'"),
        ({"memory": "1KB"}, "no worker could start in 1.0 kB; declare at least 16.0 MB"),
        ({"device_memory": "1GB"}, "device_memory is for device='gpu'"),
        ({"latency_target": "1s"}, "latency_target is for device='gpu'"),
        ({"device": "gpu", "device_memory": "lots"}, "device_memory"),
        ({"device": "gpu", "latency_target": "soon"}, "latency_target"),
        ({"device": "gpu", "target_concurrency": 2}, "one call runs at a time"),
        ({"max_queue": "5"}, "max_queue: Expected `int`, got `str`"),
        ({"target_concurrency": 2.5}, "target_concurrency: Expected `int`, got `float`"),
        ({"threads": "2"}, "threads: Expected `int`"),
        ({"network": "no"}, "network: Expected `bool`"),
        ({"libraries": [1]}, "libraries: Expected `str`, got `int`"),
        ({"libraries": None}, "libraries: Expected"),
        ({"env": {"A": 1}}, "env: Expected `str`, got `int`"),
        ({"env": "A=1"}, "env: Expected `object"),
        ({"include": [Path("more.bin")]}, "include: Expected `str`"),
        ({"weights": Path("w.safetensors")}, "weights is text"),
        ({"requirements": 3}, "requirements is a list"),
        ({"priority": ["batch"]}, "priority"),
        ({"name": 5}, "name: Expected"),
    ],
)
def test_senseless_options_are_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidDeclaration, match=named):
        declared_model(**options)


@pytest.mark.parametrize("name", ["", "A", "a.b", "../x", "a" * 64, "ünïcode", "-a"])
def test_hostile_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        declared_model(name=name)


def test_who_asks_for_a_class_by_its_own_name_is_told_that_of_its_function() -> None:
    with pytest.raises(InvalidName, match=r"'Embedder' is not allowed: .*: did you mean 'embedder'\?$"):
        check_name("Embedder")
    with pytest.raises(InvalidName, match=r"a letter or a digit$"):
        check_name("../Embedder")


def test_a_class_without_a_way_to_load_or_answer_is_refused() -> None:
    app = glowplug.App("test")
    with pytest.raises(InvalidDeclaration, match="build"):
        app.model(type("Empty", (), {}))
    with pytest.raises(InvalidDeclaration, match="endpoint"):
        app.model(type("Mute", (), {"setup": lambda self: None}))


@pytest.mark.parametrize("name", ["build", "setup", "example"])
def test_what_nothing_would_await_is_refused(name: str) -> None:
    async def awaited(self: Any) -> None: ...

    methods = {"setup": lambda self: None, "e": glowplug.endpoint(lambda self: 1), name: awaited}
    with pytest.raises(InvalidDeclaration, match=f"{name} may not be async"):
        glowplug.App("test").model(type("Later", (), methods))


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_an_endpoint_is_a_plain_method(kind: Any) -> None:
    with pytest.raises(InvalidDeclaration, match=f"with self first, or a function, not {kind.__name__}"):
        glowplug.endpoint(kind(lambda x: x))


def test_flags_of_an_app_and_an_endpoint_are_flags() -> None:
    with pytest.raises(InvalidDeclaration, match="build_from_source is True or False"):
        glowplug.App("test", build_from_source="no")  # type: ignore[arg-type]
    with pytest.raises(InvalidDeclaration, match="idempotent is True or False, not 'no'"):
        glowplug.endpoint(idempotent="no")(lambda self: 1)  # type: ignore[call-overload]
    with pytest.raises(InvalidName, match="app name 5"):
        glowplug.App(5)  # type: ignore[arg-type]


def test_two_of_one_name_are_refused() -> None:
    app, _ = declared_model()
    with pytest.raises(InvalidDeclaration, match="twice"):
        app.model(type("Model", (), {"setup": lambda self: None, "e": glowplug.endpoint(lambda self: 1)}))


def test_arguments_without_names_cannot_be_validated() -> None:
    app = glowplug.App("test")

    def loose(*values: int) -> int:
        return sum(values)

    with pytest.raises(InvalidDeclaration, match=r"\*values"):
        app.function(loose)


def test_scaling_options_are_recorded() -> None:
    app, _ = declared_model(
        min_workers=1, max_workers=3, target_concurrency=4, threads=2, priority="background"
    )
    declaration, _ = app.targets["model"]
    assert (declaration.min_workers, declaration.max_workers) == (1, 3)
    assert (declaration.target_concurrency, declaration.threads) == (4, 2)
    assert declaration.priority == "background"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target_concurrency": 0}, "target_concurrency"),
        ({"target_concurrency": 129}, "target_concurrency"),
        ({"threads": -1}, "threads"),
        ({"priority": "urgent"}, "interactive, batch, background"),
    ],
)
def test_scaling_options_that_make_no_sense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidDeclaration, match=said):
        declared_model(**options)


def test_coroutines_answer_here_too() -> None:
    app = glowplug.App("test")

    @app.function()
    async def later(text: str) -> str:
        return text.upper()

    @app.function()
    async def items(to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    @app.function(max_batch=2)
    async def batched(number: list[int]) -> list[int]:
        return number

    assert [later.local("a"), list(items.local(2)), batched.local(5)] == ["A", [0, 1], 5]
    assert [later.spec.is_async, items.spec.is_async, items.spec.streams] == [True, True, True]
    assert next(items.local(5)) == 0, "one that is left is closed"


def test_a_coroutine_beside_a_running_loop_says_what_to_write() -> None:
    app = glowplug.App("test")

    @app.function()
    async def later(text: str) -> str:
        return text.upper()

    @app.function()
    async def items(to: int) -> AsyncIterator[int]:
        yield to

    async def cell() -> str:
        with pytest.raises(RuntimeError, match=r"as in a notebook: write await f\(\.\.\.\)"):
            later.local("a")
        with pytest.raises(RuntimeError, match=r"write async for item in f\(\.\.\.\)"):
            items.local(1)
        found: str = await later("a")
        return found

    assert asyncio.run(cell()) == "A"


def test_what_runs_here_runs_in_inference_mode_as_a_request_does() -> None:
    torch = pytest.importorskip("torch")
    app = glowplug.App("test")

    @app.model()
    class Net:
        def setup(self) -> None:
            self.layer = torch.nn.Linear(2, 1)
            assert not torch.is_inference_mode_enabled()

        @glowplug.endpoint
        def f(self) -> Any:
            return self.layer(torch.ones(2)).numpy()

        @glowplug.endpoint
        def items(self) -> Iterator[Any]:
            for _ in range(2):
                yield self.layer(torch.ones(2)).numpy()

    assert Net.f.local().shape == (1,)
    found = []
    for item in Net.items.local():
        assert not torch.is_inference_mode_enabled()
        found.append(item.shape)
    assert found == [(1,), (1,)]


def test_a_class_that_was_typed_in_runs_here_too() -> None:
    typed = """
import glowplug
app = glowplug.App()

@app.model
class Model:
    def build(self):
        import torch
        return torch.nn.Identity()

    @glowplug.endpoint
    def f(self) -> int:
        return 5

print(Model.f.local())
"""
    command = [sys.executable, "-c", typed]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout, done.returncode) == ("5\n", 0), done.stderr


def test_an_option_that_is_not_there_is_named_with_the_one_that_is() -> None:
    with pytest.raises(InvalidDeclaration, match="no option memroy; did you mean memory"):
        declared_model(memroy="1GB")


class Net:
    def shout(self, text: str) -> str:
        return text


def test_a_method_is_no_function() -> None:
    app = glowplug.App("methods")
    with pytest.raises(InvalidDeclaration, match=r"shout is a method of .*Net: declare functions at the top"):
        app.function()(Net.shout)


def test_a_function_is_no_endpoint() -> None:
    app = glowplug.App("both")

    def shout(text: str) -> str:
        return text

    with pytest.raises(InvalidDeclaration, match=r"function shout: @glowplug\.endpoint is for methods"):
        glowplug.endpoint(app.function()(shout))
    with pytest.raises(InvalidDeclaration, match=r"function shout: @glowplug\.endpoint is for methods"):
        app.function()(glowplug.endpoint(shout))
