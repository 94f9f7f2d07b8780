"""`glowplug distributed`: one inference over many workers."""

from __future__ import annotations

import cyclopts

from glowplug.cli.distributed_clean import clean
from glowplug.cli.distributed_plan import plan
from glowplug.cli.distributed_run import run

app = cyclopts.App(
    name="distributed",
    help="Plan and run one inference over many workers that talk only through queues, objects or memory.",
)
app.command(plan)
app.command(run)
app.command(clean)
