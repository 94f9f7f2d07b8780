"""`loading` beside the libraries that people use: the same weights in each one's own format, and ours."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from glowplug.bench.loading.cells import prepare_cache
from glowplug.bench.loading.models import Subject, answer_of, make_subject
from glowplug.bench.peers import peers_python
from glowplug.bench.peers.formats import files_of, weights_in
from glowplug.bench.peers.loading import PEERS, Peer, PeerProcess, available
from glowplug.bench.peers.s3_server import S3Store, s3_store
from glowplug.bench.result import spread
from glowplug.loader import load, start_load
from glowplug.loader.arena import Arena
from glowplug.loader.errors import LoaderError

COMPARED = ("resnet50", "vgg16", "bert_base", "bert_large", "gpt2")
"""One of each kind, the largest included: each peer needs a process for each model."""
Row = dict[str, Any]
Tell = Callable[[str], None]


def peer_rows(
    models: Sequence[str], folder: Path, repeats: int, arena: Arena, tell: Tell
) -> tuple[list[Row], list[str]]:
    """(a row for each peer, model and store; what could not be run, and why)."""
    reasons = available()
    missing = [f"peer {name}: {reason}" for name, reason in reasons.items() if reason]
    peers = [PEERS[name] for name, reason in reasons.items() if not reason]
    rows: list[Row] = []
    if not peers:
        return rows, missing
    with contextlib.ExitStack() as stack:
        store: S3Store | None = None
        try:
            store = stack.enter_context(s3_store())
        except (RuntimeError, OSError) as error:
            missing.append(f"S3 server: {error}")
        for name in (one for one in COMPARED if one in models):
            subject = make_subject(name, 1, folder, 1)
            try:
                rows += _one_model(subject, peers, folder, repeats, arena, store, tell)
            except (RuntimeError, TimeoutError, OSError, LoaderError) as error:
                missing.append(f"peers with {name}: {error}")
    return rows, missing


def _one_model(
    subject: Subject,
    peers: Sequence[Peer],
    folder: Path,
    repeats: int,
    arena: Arena,
    store: S3Store | None,
    tell: Tell,
) -> list[Row]:
    """The peers' processes stay up while they take turns, so that all meet the same minutes."""
    able = [peer for peer in peers if peer.has(subject.name)]
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    environment = store.environment if store is not None else {}
    with contextlib.ExitStack() as stack, _variables(environment):
        running: dict[str, tuple[PeerProcess, Path]] = {}
        for peer in able:
            tell(f"{subject.name}: peer {peer.name} warms up")
            weights = weights_in(peer.format, subject.name, lambda: _state(subject), folder, peers_python())
            process = PeerProcess(peer, subject.name, weights, threads=[_threads()], environment=environment)
            running[peer.name] = (stack.enter_context(process), weights)
        urls = _upload(store, subject, running, able)
        for _ in range(repeats):
            for cache in ("warm", "cold"):
                for name, (process, weights) in running.items():
                    prepare_cache(files_of(weights), cache)
                    measured = process.measure(weights, _threads())
                    key = (name, "disk", cache)
                    found.setdefault(key, []).append((measured.first_answer_s, measured.second_forward_s))
                prepare_cache([subject.pack], cache)
                found.setdefault(("auto", "disk", cache), []).append(_ours(subject, subject.pack, arena))
            for name, url in urls.items():
                tell(f"{subject.name}: {name} from S3")
                if name == "auto":
                    seconds = _ours(subject, url, arena)
                else:
                    measured = running[name][0].measure(url, _threads())
                    seconds = (measured.first_answer_s, measured.second_forward_s)
                found.setdefault((name, "s3", "-"), []).append(seconds)
    return [
        {
            "peer": True, "system": name, "model": subject.name, "source": source, "cache": cache, "batch": 1,
            "threads": _threads(), **spread("first_answer_s", [first_s for first_s, _ in samples]),
            **spread("warm_forward_s", [second_s for _, second_s in samples]), "equal": None,
        }
        for (name, source, cache), samples in found.items()
    ]  # fmt: skip


def _upload(
    store: S3Store | None,
    subject: Subject,
    running: dict[str, tuple[PeerProcess, Path]],
    peers: Sequence[Peer],
) -> dict[str, str]:
    """Addresses in the store, for those who can read there."""
    if store is None:
        return {}
    urls = {peer.name: store.upload(running[peer.name][1]) for peer in peers if "s3" in peer.schemes}
    return {**urls, "auto": store.upload(subject.pack)}


def _ours(subject: Subject, place: Path | str, arena: Arena) -> tuple[float, float]:
    import torch

    gc.collect()
    arena.prepare(subject.nbytes)
    start_s = time.perf_counter()
    # None of the others checks what lies on the disk.
    loading = start_load(place, arena=arena, verify=False if isinstance(place, Path) else None)
    with torch.inference_mode():
        answer_of(loading.model, subject.inputs)
        first_s = time.perf_counter() - start_s
        loading.wait()
        again_s = time.perf_counter()
        answer_of(loading.model, subject.inputs)
    return first_s, time.perf_counter() - again_s


def _state(subject: Subject) -> dict[str, Any]:
    state: dict[str, Any] = load(subject.pack).state_dict()
    return state


def _threads() -> int:
    import torch

    return torch.get_num_threads()


@contextlib.contextmanager
def _variables(added: dict[str, str]) -> Iterator[None]:
    """The store's credentials in this process's environment, where our own loader looks for them."""
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
