"""`glowplug serve`: the server, its node and, when asked, what to deploy on it."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO, cast

import structlog
import uvloop
from cyclopts import Parameter, validators

from glowplug.cli.budget import beyond_the_machine, parse_budget
from glowplug.cli.control_options import control_settings
from glowplug.cli.numbers import Natural, Whole
from glowplug.cli.output import UnfailingLines, console, print_json_line
from glowplug.client.connection import is_token
from glowplug.compose import System, default_state_dir
from glowplug.core.devices import Host, parse_devices
from glowplug.core.errors import InvalidArguments
from glowplug.core.settings import CallSettings, ControlSettings, GatewaySettings, NodeSettings
from glowplug.core.units import parse_bytes, parse_seconds, show_bytes
from glowplug.loader.devices.cuda import card_bytes, cards
from glowplug.server.run import ServerOptions
from glowplug.server.run import serve as run_server

_POLICIES = ControlSettings()
_MOST_GATEWAYS = 64


def serve(
    *files: Path,
    host: str = "127.0.0.1",
    port: Annotated[Whole, Parameter(validator=validators.Number(gte=0, lte=65535))] = 8000,
    token: Annotated[str | None, Parameter(env_var="GLOWPLUG_TOKEN")] = None,
    memory: str = "4GB",
    give_way: bool = True,
    files_root: Path = Path("/"),
    state_dir: Path | None = None,
    artifacts: str = "",
    environments: str = "20GB",
    installer: Literal["auto", "uv", "pip"] = "auto",
    devices: tuple[str, ...] = ("auto",),
    gateways: Annotated[Whole, Parameter(validator=validators.Number(gte=1, lte=_MOST_GATEWAYS))] = 1,
    scheduling: str = _POLICIES.scheduling,
    eviction: str | None = None,
    device_eviction: str = _POLICIES.device_eviction,
    preload: Literal["none", "ladder", "tyche", "instainfer"] = "none",
    preload_cpu_share: float = _POLICIES.preload_cpu_share,
    preload_memory_share: float = _POLICIES.preload_memory_share,
    preload_uncalled: bool = _POLICIES.preload_uncalled,
    preload_horizon: str = f"{_POLICIES.preload_horizon_s:g}s",
    threads: Natural = 0,
    cancel_grace: str = f"{_POLICIES.cancel_grace_s:g}s",
    strict: bool = False,
    same_user: bool = False,
    journal: bool = True,
    access_log: Annotated[str, Parameter(allow_leading_hyphen=True)] = "",
    callbacks: bool = True,
    results_kept: str = "1h",
    reload: bool = False,
    json: bool = False,
    log_level: Literal["debug", "info", "warning", "error"] = "info",
) -> None:
    """Start the server and deploy FILES on it.

    For example:

        glowplug serve app.py --reload
        glowplug serve embedder.py classifier.py --port 9000 --memory 8GB
        glowplug serve rare.py --preload ladder --memory 2GB
        glowplug serve --host 0.0.0.0 --token "$TOKEN" --access-log /var/log/glowplug.jsonl

    Parameters
    ----------
    files
        Python files that declare a glowplug.App; the server ends where one cannot be deployed. Functions that
        were deployed are there again by themselves: in production serve without files, and use deploy.
    host
        Address to listen on. Anything but this machine's own needs a token.
    port
        Port to listen on; 0 takes any that is free.
    token
        Bearer token that every request must carry.
    memory
        What Glowplug may hold in all, idle or busy. More than there is takes --give-way.
    give_way
        Hold less while others on this machine, or in its control group, need some of that: what is idle goes,
        what is worth least first, and may come back when they have gone.
    files_root
        Where the /proc and /sys lie that tell what others need; a container may have its host's elsewhere.
    state_dir
        Where bundles and the database live. Default: ~/.local/state/glowplug
    artifacts
        Where packs are kept beyond this machine's disk, which is then a cache of it: a folder, or an address
        such as s3://bucket/packs (needs glowplug[stores]; credentials as AWS's tools have them).
    environments
        Disk for packages that functions require; beyond it those are removed that no version needs.
    installer
        What installs them; auto is uv where it is found, else pip.
    devices
        Where functions with device="gpu" compute: auto (every graphics card), none, cuda:NUMBER, cpu:COUNT or
        cpu:COUNTxSIZE (cores of their own), or virtual:COUNTxSIZE@RATE/s as in virtual:3x2GB@2GB/s, which
        take the time that such cards would. Options behind commas: memory=SIZE of a card, latency=TIME,
        run=TIME, context=SIZE/TIME, shared=yes, ready=no, at_once=N. May be given several times.
    gateways
        Processes that take connections and answer requests for functions, on the same port. One carries what
        two to three cores of short calls can answer; on more than four cores one for every four may be right.
    scheduling
        The policy that decides which request computes on which device; a wrong name lists those that exist.
    eviction
        The policy that names what leaves the memory for others: value-per-byte, or with --preload ladder
        ladder; a wrong name lists those that exist.
    device_eviction
        The policy that names the models that leave a device for others.
    preload
        What loads functions before they are called, in memory that nobody uses: none; ladder (by chance of a
        call x seconds spared / bytes; workers then stay until their memory is worth more to others, whatever
        their keep_warm); tyche or instainfer, which load and unload by timers, for comparison.
    preload_cpu_share
        How much of one core such loads may take.
    preload_memory_share
        How much of the memory they may hold, until they are used.
    preload_uncalled
        Whether ladder also loads functions that nobody has called yet, where memory is free. That is most of
        what it ever holds in vain; without it first calls load.
    preload_horizon
        How long before its call such a load begins, at most, beside what it takes.
    threads
        Compute threads of all workers of a function together; 0 is every core.
    cancel_grace
        How long a function may take to stop when its request is cancelled, before its worker is killed.
    strict
        Refuse to start where the host does not allow the isolation that is asked for.
    same_user
        Run functions as the server's own user.
    journal
        Keep a journal of events, which `glowplug replay` can check.
    access_log
        Write a line of JSON for each request to this file, or to standard output (-). SIGHUP makes the server
        open the file again, for logrotate.
    callbacks
        Let callers of spawned calls name a URL to which the result is posted: any that this machine reaches.
    results_kept
        How long results of spawned calls are kept.
    reload
        Deploy FILES again whenever they change, or what they import from beside them or name.
    json
        Print one JSON line when ready, and the log as JSON.
    log_level
        What of the log is written: this, and what is worse.
    """
    if reload and not files:
        raise InvalidArguments("--reload: name the files that are to be watched", "reload")
    token = token or None  # as a variable that is set to nothing has it
    if token is not None and not is_token(token):
        raise InvalidArguments(
            "--token, or GLOWPLUG_TOKEN: use printable ASCII, or no client can send it", "token"
        )
    _set_up_logging(log_level, json)
    folder = (state_dir or default_state_dir()).absolute()
    control = control_settings(
        scheduling, eviction, device_eviction, preload, preload_cpu_share, preload_memory_share,
        parse_seconds(preload_horizon, "--preload-horizon"), parse_seconds(cancel_grace, "--cancel-grace"),
        preload_uncalled,
    )  # fmt: skip
    budget_bytes = parse_budget(memory)
    beyond = beyond_the_machine(budget_bytes, give_way, files_root)
    options = ServerOptions(
        control=control,
        gateway=GatewaySettings(host=host, port=port, token=token),
        node=NodeSettings(
            str(folder), "", budget_bytes=budget_bytes, threads=threads,
            gives_way=give_way, files_root=str(files_root),
            devices=parse_devices(devices, this_host(budget_bytes)),
            drop_privileges=not same_user, strict=strict, artifacts=artifacts,
            environments_bytes=parse_bytes(environments, "--environments"),
            installer="" if installer == "auto" else installer,
        ),
        calls=CallSettings(callbacks=callbacks, results_kept_s=parse_seconds(results_kept, "--results-kept")),
        journal=journal,
        gateways=gateways,
        access_log=access_log,
    )  # fmt: skip

    async def on_ready(url: str, system: System) -> None:
        if json:
            print_json_line({"url": url, "pid": os.getpid(), "agent_pid": system.engine.agent_pid})
        else:
            _greet(url, system, folder, options, beyond)
        if files and reload:
            from glowplug.cli.reloading import deploy_and_watch, deployer

            await deploy_and_watch(list(files), deployer(url, token, quiet=json))
        elif files:
            from glowplug.cli.deploying import deploy_files

            await asyncio.to_thread(deploy_files, url, token, list(files), quiet=json)

    sys.exit(uvloop.run(run_server(options, on_ready)))


def this_host(budget_bytes: int) -> Host:
    free: dict[int, int] = {}
    for number in cards():
        try:
            free[number] = card_bytes(number)
        except RuntimeError:
            free[number] = 0
    return Host(tuple(sorted(os.sched_getaffinity(0))), free, budget_bytes)


def _greet(url: str, system: System, folder: Path, options: ServerOptions, beyond: str) -> None:
    console.print(f"[bold green]Glowplug[/] answers at [bold]{url}[/]")
    console.print(
        f"  memory budget {show_bytes(options.node.budget_bytes)}, state in {folder}", highlight=False
    )
    if beyond:
        console.print(f"  that is {beyond}", style="yellow", highlight=False)
    for device in system.engine.devices:
        console.print(f"  device {device.device}: {show_bytes(device.capacity_bytes)}", highlight=False)
    for name, state in system.engine.isolation.items():
        console.print(
            f"  {name}: {state}", style="yellow" if state.startswith("no") else "dim", highlight=False
        )
    console.print("  Ctrl-C stops it; what is deployed stays deployed", style="dim")


def _set_up_logging(level: str, as_json: bool) -> None:
    number = logging.getLevelNamesMapping()[level.upper()]
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, UnfailingLines(sys.stderr.fileno()))),
    )
    for chatty in ("httpx", "httpcore", "asyncio"):
        logging.getLogger(chatty).setLevel(max(number, logging.WARNING))
    # It warns of every request that is none: a hostile client is no reason to fill a disk.
    logging.getLogger("uvicorn").setLevel(max(number, logging.ERROR))
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(levelname)s %(name)s %(message)s")
    as_lines = structlog.stdlib.ProcessorFormatter(
        processor=processors[-1], foreign_pre_chain=processors[:-1]
    )
    handler.setFormatter(as_lines if as_json else plain)
    logging.basicConfig(level=number, handlers=[handler])
