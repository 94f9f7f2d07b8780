"""`glowplug distributed`: one inference over many workers."""

from __future__ import annotations

import cyclopts

app = cyclopts.App(
    name="distributed",
    help="Plan and run one inference over many workers that talk only through queues, objects or memory.",
)
app.command("glowplug.cli.distributed_plan:plan", name="plan")
app.command("glowplug.cli.distributed_run:run", name="run")
