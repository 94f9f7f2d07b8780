"""`glowplug bench NAME` and `glowplug demo`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from glowplug.cli.interrupts import signals_interrupt
from glowplug.cli.numbers import Positive
from glowplug.cli.output import console


def bench(
    name: str = "list",
    *,
    quick: bool = False,
    repeats: Positive | None = None,
    set: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Run an experiment: all its baselines in one run, a table, and JSON and a picture where asked.

    The exit status is 0 when it ran, whatever its claims say: the table and the JSON have them.

    `calibration`, `preloading` and `scheduling` play a recorded hour, azure2019_1h_1000fn: 1,000 functions of
    the Azure Functions trace of 2019 (GitHub: Azure/AzurePublicDataset). It is looked for in `traces`, or in
    the folder that GLOWPLUG_TRACES names; what needs it is left out without it, or refused where it was asked
    for.

    For example:

        glowplug bench
        glowplug bench coldstart --quick
        glowplug bench coldstart --json coldstart.json --plot coldstart.png
        glowplug bench endurance --set parts=soak --set soak_s=600

    Parameters
    ----------
    name
        The experiment; `list` names them.
    quick
        A small version of about ten seconds, to see that it runs. Claims come from full runs.
    repeats
        Measurements of each cell.
    set
        NAME=VALUE changes one of the experiment's settings; may be given again.
    json
        Write the result to this file.
    plot
        Draw the result into this file.
    """
    from glowplug.bench import registry

    if name == "list":
        for known, about in registry.describe().items():
            console.print(f"[bold]{known}[/]  {about}")
        return
    signals_interrupt()
    sys.exit(registry.run(name, quick=quick, repeats=repeats, settings=set, json=json, plot=plot))


def demo(*, journal: Path | None = None) -> None:
    """Deploy two real models, call them cold and warm, and show where the time goes. Under three minutes.

    For example:

        glowplug demo
        glowplug demo --journal ./journal && glowplug replay ./journal

    Parameters
    ----------
    journal
        Keep the controller's journal in this folder.
    """
    from glowplug.bench.demo import run_demo

    signals_interrupt()
    sys.exit(run_demo(journal))
