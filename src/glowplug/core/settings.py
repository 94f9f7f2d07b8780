"""Frozen settings, built once at the edge (compose.py or a test) and passed down."""

from __future__ import annotations

from typing import Literal

import msgspec

from glowplug.core.bodies import MAX_BODY_BYTES
from glowplug.core.devices import DeviceSetting


class ControlSettings(msgspec.Struct, frozen=True):
    """What the controller may not exceed, and how patient it is."""

    seed: int = 0
    dispatch: str = "finish-first"
    eviction: str = "value-per-byte"
    scheduling: str = "finish-first"
    device_eviction: str = "value-per-byte"
    preload: str = "none"
    preload_cpu_share: float = 0.15
    """Of one core, at each node, for climbs that nobody waits for; infinite for no limit."""
    preload_memory_share: float = 1.0
    """Of each node's budget, for what such climbs brought that nobody has used yet."""
    preload_cpu_price: float = 0.1
    """Seconds of waiting that a second of such a climb has to spare, on average: more where its node's share
    is spent, and where little of what was loaded ahead is used."""
    preload_byte_price: float = 2e-12
    """And that a byte which it holds for a second has to: 2 ms a GB and second."""
    preload_uncalled: bool = True
    """Whether `ladder` holds what nobody has called yet where memory is free: most of what is in vain."""
    preload_horizon_s: float = 4.0
    """About the time that a load takes: what is needed later than that can still be fetched just in time."""
    substrate: Literal["zygote", "process"] = "zygote"
    """What a warm instance is: forked from a zygote, with what it needs; or a process with everything of its
    own inside its sandbox's limit, as in the published systems."""
    keeps_loaded: bool = True
    """Whether a sandbox keeps what is loaded in it after an answer. The published table of pre-loading fits
    systems that load the model again at every call."""
    guests_displace: bool = False
    """Whether what is loaded ahead may have the room of a model that is kept idle in its own sandbox, which
    then loads again at its next call."""
    shares_weights: bool = False
    """Whether a node holds what several functions have as their weights once for all of them (`pack` of their
    facts). Else each version's are counted by themselves. `serve` has it so."""
    lends: bool = True
    """Whether gateways may dispatch by themselves, under leases."""
    prewarm: str = "fixed"
    """The pre-warm policy of functions that do not name one."""
    max_queued: int = 1000
    """Requests waiting over all functions; the next one is answered 503."""
    max_builds: int = 1
    lease_s: float = 30.0
    cancel_grace_s: float = 1.0
    climb_timeout_s: float = 120.0
    build_timeout_s: float = 600.0
    environment_timeout_s: float = 2000.0
    """How much longer than others an environment's climb may take when it may have packages to install."""
    environment_estimate_bytes: int = 600 * 10**6
    """Reserved for an environment's zygote before one was ever measured."""
    reserve_factor: float = 1.25
    reserve_margin_bytes: int = 8 * 10**6
    """An estimate of bytes is multiplied and raised by these, for the ledger may not be below the truth."""
    eager_stage: bool = True
    """After a request was answered from IMPORTED, stage its function for the next one."""


class GatewaySettings(msgspec.Struct, frozen=True):
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    max_body_bytes: int = MAX_BODY_BYTES
    max_upload_bytes: int = 32 * 2**30
    max_connections: int = 100_000
    """Clients connected at once; the next one is answered 503 and closed. `serve` lowers it to what the
    process may have open files for."""
    report_every_s: float = 0.2
    """How often what was done under leases is reported."""
    drain_s: float = 20.0
    """How long SIGTERM waits for requests in flight."""
    traces_kept: int = 1000


class CallSettings(msgspec.Struct, frozen=True):
    """Spawned calls: how many, how long, how often."""

    seed: int = 0
    """Of the jitter between attempts."""
    max_waiting: int = 100_000
    """Calls that have not ended; the next one is answered 429."""
    max_stored: int = 1_000_000
    """All calls, those with results that are still kept among them."""
    max_argument_bytes: int = 8 * 2**30
    max_result_bytes: int = 8 * 2**30
    """When the results kept reach this, no call is started until some were collected."""
    max_running_bytes: int = 256 * 2**20
    """Arguments in memory at once."""
    at_once: int = 64
    at_once_per_function: int = 8
    """And no more than half of a function's queue."""
    max_attempts: int = 5
    backoff_s: float = 1.0
    max_backoff_s: float = 60.0
    deadline_s: float = 86_400.0
    """All attempts of a call together, unless it asks for less."""
    results_kept_s: float = 3600.0
    dead_letters_kept_s: float = 7 * 86_400.0
    callbacks: bool = True
    """Whether results may be posted to a URL that the caller names: any that this machine reaches."""
    callback_timeout_s: float = 10.0


class NodeSettings(msgspec.Struct, frozen=True):
    """`state_dir` holds bundles, packs and the database; `run_dir` holds scratch, gone at exit."""

    state_dir: str
    run_dir: str
    node: str = "local"
    budget_bytes: int = 4 * 10**9
    gives_way: bool = True
    """Whether it holds less while others on the machine need some of that."""
    files_root: str = "/"
    """Below it lie the /proc and /sys that tell what others need."""
    devices: tuple[DeviceSetting, ...] = ()
    threads: int = 0
    """Compute threads of all workers of a function together, where it does not declare those of one; 0 is
    every core."""
    artifacts: str = ""
    """Where packs are kept beyond this node's disk: a folder, or an address such as s3://bucket/packs."""
    environments_bytes: int = 20 * 10**9
    """Disk for the packages of environments: beyond it those go that no version needs."""
    installer: str = ""
    """What installs packages, `uv` or `pip`; empty is uv where it is, else pip."""
    environment_build_bytes: int = 20 * 10**9
    """Disk for installing one environment."""
    environment_build_s: float = 1800.0
    build_bytes: int = 0
    """What a build's files may take of the disk; 0 is half of what is free when it begins."""
    log_lines_kept: int = 2000
    drop_privileges: bool = True
    strict: bool = False
