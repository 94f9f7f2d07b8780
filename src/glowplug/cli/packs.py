"""`glowplug pack` and `glowplug load`: the loader from the shell."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from glowplug.cli.model_files import called, module_of, running, split_source
from glowplug.cli.output import console, print_json
from glowplug.core.errors import GlowplugError, InvalidArguments, WeightsError
from glowplug.core.units import show_bytes, show_seconds


def pack(
    source: str, out: Path, *, example: str = "example", weights: Path | None = None, json: bool = False
) -> None:
    """Write a torch model into one file from which it loads in milliseconds.

    For example:

        glowplug pack model.py:build vgg16.pack --weights vgg16.safetensors
        glowplug pack model.py:Net net.pack --example sample

    Parameters
    ----------
    source
        FILE:NAME of a callable without arguments that returns the torch.nn.Module.
    out
        The pack to write.
    example
        A callable in the same file that returns the model's example input: one argument, a tuple of
        positional ones, or a dict of named ones. A copy of the model runs on it, to learn the order of its
        weights.
    weights
        A safetensors or torch file to take the weights from, instead of those that the callable made.
    json
        Print JSON.
    """
    from glowplug import loader

    file, name = split_source(source)
    module = module_of(file)
    with running(file, example):
        try:
            if weights is None:
                model = called(module, name, file)
            else:
                with loader.without_init():
                    model = called(module, name, file)
                loader.assign(model, loader.read_state_dict(weights), weights)
            inputs = called(module, example, file)
            with console.status(f"packing {out}"):
                info = loader.pack(model.eval(), inputs, out)
        except (loader.LoaderError, OSError) as error:
            raise WeightsError(str(error)) from error
    facts = {
        "path": info.path, "digest": info.digest, "file_bytes": info.file_nbytes,
        "weights_bytes": info.weights_nbytes, "tensors": len(info.tensors), "units": len(info.units),
        "compute_s": sum(info.compute_s or ()),
    }  # fmt: skip
    if json:
        print_json(facts)
        return
    console.print(
        f"[bold]{info.path}[/]: {show_bytes(info.file_nbytes)}, {len(info.tensors)} tensors in "
        f"{len(info.units)} units, forward {show_seconds(sum(info.compute_s or ()))}"
    )


def load(
    source: str, *, strategy: str = "auto", device: str = "cpu", build: str | None = None,
    verify: bool | None = None, only: Annotated[tuple[str, ...] | None, Parameter(negative="")] = None,
    timeline: Path | None = None, json: bool = False,
) -> None:  # fmt: skip
    """Load a pack, run it on the input it was packed with, and show where the time went.

    Runs the code that the pack names, as found in this folder and among the installed packages, unless
    `--only` says which it may name.

    For example:

        glowplug load vgg16.pack
        glowplug load s3://bucket/vgg16.pack --timeline out.json
        glowplug load vgg16.pack --strategy pisel --build model.py:build
        glowplug load copied.pack --verify --only torchvision.models

    Parameters
    ----------
    source
        A file, or an address: s3://, gs://, az://, http://, https://.
    strategy
        `auto`, or one of those that `glowplug bench loading` compares.
    device
        `cpu`, `cuda`, `cuda:1`, or `virtual`.
    build
        FILE:NAME of the callable that builds the model: for files of weights alone, and for strategies that
        construct it, which else unpickle the pack's skeleton in its place.
    verify
        Check every byte of the weights, also those of a torch file, and of a local pack that was checked
        before and has not been written to since; `--no-verify` checks none. Safetensors files have no
        checksums.
    only
        A module or package whose classes the pack may name beside those of torch.nn's (`torch.nn` for none);
        give it again for more. The model is not run then: its input may name anything.
    timeline
        Write the stages of every unit to this file, for Perfetto.
    json
        Print JSON.
    """
    from glowplug import loader

    builder = None
    if build is not None:
        file, name = split_source(build)
        module = module_of(file)
        builder = lambda: called(module, name, file)  # noqa: E731 (a name for it would say no more)
    sys.path.insert(0, str(Path.cwd()))  # where the classes of packs made here are
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401  (seconds that are not the load's)
    try:
        try:
            loading = loader.start_load(
                source, device, strategy, build=builder, watched=True, only=only, primed=only is None,
                verify=verify,
            )  # fmt: skip
        except ValueError as error:
            raise InvalidArguments(str(error)) from error
        prime = loading.prime()
        if prime is not None:
            prime.run(loading.model)
        answered_s = time.perf_counter()
        loading.wait()
        found = loading.finish(answered_s)
        if timeline is not None:
            timeline.write_bytes(found.perfetto())
    except GlowplugError:
        raise
    except Exception as error:
        # What is loaded is somebody's code, and so is what builds it.
        raise WeightsError(str(error) or type(error).__name__) from error
    facts = {
        "source": source, "strategy": found.strategy,
        "first_answer_s": found.end_s if prime is not None else None,
        **{f"{stage}_s": found.busy_s(stage) for stage in ("build", "fetch", "apply", "compute")},
        "weights_checked": loading.weights_checked, "in_flight_bytes": loading.in_flight_bytes,
        "utilisation_union": found.utilisation_union, "utilisation_compute": found.utilisation_compute,
    }  # fmt: skip
    if json:
        print_json(facts)
        return
    table = Table(title=f"{source}: {found.strategy}", title_justify="left")
    for column in ("what", "value"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for key, value in facts.items():
        if key.endswith("_s") and value is not None:
            table.add_row(key.removesuffix("_s").replace("_", " "), show_seconds(float(str(value))))
    table.add_row("weights checked", loading.weights_checked)
    table.add_row("in flight, at most", show_bytes(loading.in_flight_bytes))
    table.add_row("busy, any stage", f"{found.utilisation_union:.0%}")
    table.add_row("busy, compute", f"{found.utilisation_compute:.0%}")
    console.print(table)
    if prime is None:
        why = "the source carries no example input" if only is None else "its example input may name anything"
        console.print(f"[yellow]nothing was run:[/] {why}")
