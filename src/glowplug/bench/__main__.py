"""`python -m glowplug.bench NAME`: one experiment, as `glowplug bench NAME` runs it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from glowplug.bench.registry import EXPERIMENTS, experiment

WIDTH = 150
"""Of a table that goes to a file or a pipe."""


def main(arguments: list[str] | None = None) -> int:
    """0 when every claim holds, 1 when one does not. `--quick` makes no claims, so only a failure counts."""
    parser = argparse.ArgumentParser(prog="glowplug bench", description=__doc__)
    parser.add_argument("name", choices=sorted(EXPERIMENTS))
    parser.add_argument("--quick", action="store_true", help="about ten seconds, to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the result goes")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="where the picture goes (.png or .svg)")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--models", help="names, with commas between")
    parser.add_argument("--systems", help="names, with commas between")
    asked = parser.parse_args(arguments)

    given = {"quick": asked.quick, "repeats": asked.repeats}
    given |= {
        name: tuple(text.split(",")) for name in ("models", "systems") if (text := getattr(asked, name))
    }
    module = experiment(asked.name)
    with Console(stderr=True).status(asked.name) as status:
        result = module.run(
            module.Options(**{k: v for k, v in given.items() if v is not None}), status.update
        )
    module.report(result, Console(width=None if sys.stdout.isatty() else WIDTH))
    if asked.json is not None:
        result.write(asked.json)
    if asked.plot is not None:
        module.plot(result, asked.plot)
    return 0 if asked.quick or result.holds else 1


if __name__ == "__main__":
    sys.exit(main())
