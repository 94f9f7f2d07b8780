"""The demo: two real models asked from nothing, warm, and after scale to zero; beside the naive start."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from glowplug.bench.harness import RunningServer, running_server
from glowplug.bench.models import MODELS, BenchModel, examples_dir, picture, plain_answers
from glowplug.bench.pictures.timeline import Line, timeline
from glowplug.bench.systems.live import HttpCaller, request_body
from glowplug.bench.systems.naive import NaiveSystem
from glowplug.core.units import show_bytes

SENTENCES = ("A man is playing a guitar on stage.", "Someone performs music with a guitar.",
             "The stock market fell sharply today.")  # fmt: skip
PHOTOGRAPHS = {"china.jpg": "palace", "flower.jpg": "honeycomb"}
"""What MobileNetV2 sees first. The flower is a dahlia, which ImageNet has no class for."""
NEAR, FAR = 0.6, 0.2
WARM_REPEATS = 5
ZERO_S = 60.0
Check = Callable[[list[Any]], tuple[str, bool]]


@dataclass
class Subject:
    """One model of the demo: what it is asked, what is shown of its answers, and whether they are right."""

    model: BenchModel
    requests: list[Any]
    judge: Check
    lines: list[Line] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)


def subjects() -> list[Subject]:
    return [
        Subject(MODELS["minilm"], list(SENTENCES), judge_sentences),
        Subject(MODELS["mobilenetv2"], [picture(name) for name in PHOTOGRAPHS], judge_photographs),
    ]


def run_demo(journal: Path | None = None) -> int:
    """Runs the demo; 0 when every answer was right, 1 when one was wrong, 2 when packages are missing.

    With `journal`, the controller's journal of it is copied into that folder.
    """
    console = Console()
    lacking = {package for each in subjects() for package in each.model.lacks}
    if lacking:
        console.print(f"[red]missing packages:[/] {', '.join(sorted(lacking))}; `make install` brings them")
        return 2
    console.rule("Glowplug: inference without the cold start")
    with tempfile.TemporaryDirectory(prefix="glowplug-demo-") as scratch:
        folder = Path(scratch)
        asked = subjects()
        with console.status(
            "the same models started the naive way: a fresh python imports, builds, loads, infers"
        ):
            naive = NaiveSystem(folder, WARM_REPEATS)
            for subject in asked:
                measured = naive.measure(subject.model, subject.requests[0], "local", "warm")
                subject.lines.append(Line("naive start", measured.latency_s, measured.phases))
        with running_server([examples_dir() / "demo.py"], folder / "state") as server:
            show(console, server, asked)
        if journal is not None:
            shutil.copytree(folder / "state" / "journal", journal, dirs_exist_ok=True)
    verdicts = [verdict(console, subject) for subject in asked]
    if journal is not None:
        console.print(f"the journal is in {journal}")
    return 0 if all(verdicts) else 1


def show(console: Console, server: RunningServer, asked: list[Subject]) -> None:
    """Brings each model through its life and draws it."""
    with console.status("packing weights, tracing execution order"):
        deployed = server.wait_deployed(len(asked))
    for each in deployed.values():
        console.print(f"deployed [bold]{each.name}[/]: {show_bytes(each.weight_bytes)} of weights")
    caller = HttpCaller(server.url)
    try:
        for subject in asked:
            server.stand_at(subject.model.function, "local")
            subject.lines.append(ask(caller, subject, 0, "first answer, from nothing"))
            for number in range(1, len(subject.requests)):
                ask(caller, subject, number, "")
            warm = [ask(caller, subject, 0, "warm answer") for _ in range(WARM_REPEATS)]
            subject.lines.append(sorted(warm, key=lambda line: line.total_s)[WARM_REPEATS // 2])
        for subject in asked:
            with console.status(f"{subject.model.function}: nobody asks, so its worker goes"):
                step = wait_for_zero(server, subject.model.function)
            subject.lines.append(ask(caller, subject, 0, f"after scale to zero ({step})"))
    finally:
        caller.close()
    for subject in asked:
        console.print(f"\n[bold]{subject.model.function}[/]")
        console.print(timeline(subject.lines))


def ask(caller: HttpCaller, subject: Subject, number: int, label: str) -> Line:
    model = subject.model
    content_type, body = request_body(model, subject.requests[number])
    answer, latency_s, phases = caller.ask(f"/function/{model.function}/{model.endpoint}", content_type, body)
    if number == len(subject.answers):
        subject.answers.append(answer)
    elif answer != subject.answers[number]:
        raise RuntimeError(f"{model.function} answered the same request in two ways")
    return Line(label, latency_s, phases)


def wait_for_zero(server: RunningServer, function: str) -> str:
    """Waits until no worker of the function is left; returns the step it stands at."""
    deadline_s = time.monotonic() + ZERO_S
    while time.monotonic() < deadline_s:
        status = server.functions()[function]
        if not status.instances:
            return status.step
        time.sleep(0.1)
    raise RuntimeError(f"{function} still had a worker {ZERO_S:.0f} s after its last request")


def verdict(console: Console, subject: Subject) -> bool:
    """Prints what came out, and whether it is right and equal to a plain forward in this process."""
    same = subject.answers == plain_answers(subject.model, subject.requests)
    said, sensible = subject.judge(subject.answers)
    console.print(f"\n[bold]{subject.model.function}[/]: {said}")
    console.print(f"  equal to a plain forward, bit for bit: {'yes' if same else '[red]NO[/]'}")
    return same and sensible


def judge_sentences(answers: list[Any]) -> tuple[str, bool]:
    first, near, far = answers
    close, apart = (sum(one * other for one, other in zip(first, each, strict=True)) for each in (near, far))
    said = f"{SENTENCES[0]!r} is {close:.2f} near {SENTENCES[1]!r} and {apart:.2f} near {SENTENCES[2]!r}"
    return said, close > NEAR and apart < FAR


def judge_photographs(answers: list[Any]) -> tuple[str, bool]:
    seen = [answer[0] for answer in answers]
    said = ", ".join(
        f"{name} is a {best['label']} ({best['probability']:.0%})"
        for name, best in zip(PHOTOGRAPHS, seen, strict=True)
    )
    return said, [best["label"] for best in seen] == list(PHOTOGRAPHS.values())
