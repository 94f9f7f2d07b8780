"""How the scripts in `bench/baselines/loading` are run, and what their environment holds."""

from __future__ import annotations

import os
from pathlib import Path

from glowplug.bench.models import examples_dir

BASELINES = Path(__file__).parents[1] / "baselines"


def script_command(python: Path, script: str, *arguments: str) -> list[str]:
    return [str(python), "-m", f"loading.{script}", *arguments]


def script_environment(*folders: Path) -> dict[str, str]:
    """What every script needs; `folders` have further architectures.

    Nothing looks for a network, which would cost seconds where there is none.
    """
    return {
        "PYTHONPATH": os.pathsep.join(map(str, (BASELINES, examples_dir(), *folders))),
        # Else the working directory comes first on the path, whatever lies in it.
        "PYTHONSAFEPATH": "1",
        "HF_HUB_OFFLINE": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        # Stores under test have one host for all buckets.
        "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING": "0",
    }
