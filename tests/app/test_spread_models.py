"""Models over several workers: how that is declared, and of what it cannot be."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import glowplug
from glowplug.core.errors import InvalidDeclaration
from glowplug.core.specs import AS_NEEDED


def watched(**options: Any) -> glowplug.App:
    app = glowplug.App("spread")

    @app.model(**options)
    class Watched:
        def setup(self) -> None: ...

        def example(self) -> dict[str, int]:
            return {"value": 1}

        @glowplug.endpoint
        def double(self, value: int) -> int:
            return 2 * value

    return app


def test_a_model_over_several_workers_says_so() -> None:
    assert watched(workers=4).targets["watched"][0].workers == 4
    assert watched().targets["watched"][0].workers == 1
    assert watched(workers="auto").targets["watched"][0].workers == AS_NEEDED


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"workers": 0}, "1 <= workers <= 64"),
        ({"workers": 65}, "1 <= workers <= 64"),
        ({"workers": "2"}, "1 <= workers <= 64"),
        ({"workers": 2, "device": "gpu"}, "leave device away"),
        ({"workers": 2, "target_concurrency": 33}, "at most 32 calls at a time"),
    ],
)
def test_what_cannot_be_spread_is_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidDeclaration, match=why):
        watched(**options)


def test_only_a_model_with_an_example_is_spread() -> None:
    mute = {"setup": lambda self: None, "answer": glowplug.endpoint(lambda self: 1)}
    with pytest.raises(InvalidDeclaration, match=r"give it an example\(self\)"):
        glowplug.App("spread").model(workers=2)(type("Mute", (), mute))
    with pytest.raises(InvalidDeclaration, match="declare a class with"):
        glowplug.App("spread").function(workers=2)(inspect.getdoc)
