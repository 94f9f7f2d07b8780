"""wrk, the load generator: one run, and what it found.

wrk corrects its latencies for requests that it could not send while it waited (coordinated omission). It
counts what broke, and statuses above 399; every other answer it takes for a good one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

GRACE_S = 60.0
_MARK = "glowplug-wrk "
_SCRIPT = """
wrk.method = "POST"
{headers}
local file = assert(io.open({body}, "rb"))
wrk.body = file:read("*a")
file:close()

function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format(
      '\\n{mark}{{"requests": %d, "duration_us": %d, "bytes": %d, "connect": %d, "read": %d, "write": %d, ' ..
      '"status": %d, "timeout": %d, "p50_us": %d, "p90_us": %d, "p99_us": %d, "max_us": %d}}\\n',
      summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write, e.status, e.timeout,
      latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max))
end
"""


class Load(msgspec.Struct, frozen=True):
    """One run of wrk. `rate` is good answers a second. `failed` are answers above 399, connections that broke
    and answers that did not come in time; only the first are among `requests`."""

    requests: int
    rate: float
    p50_s: float
    p90_s: float
    p99_s: float
    max_s: float
    failed: int
    why_failed: dict[str, int]


def installed() -> str | None:
    """Where wrk is, or None."""
    return shutil.which("wrk")


def run(
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    connections: int,
    duration_s: int,
    timeout_s: int = 10,
    threads: int = 1,
) -> Load:
    """POSTs `body` over so many kept connections for whole seconds.

    Raises RuntimeError when wrk is missing or says nothing that can be read, subprocess.TimeoutExpired.
    """
    program = installed()
    if program is None:
        raise RuntimeError("wrk is not installed: run `make peers`, or apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="glowplug-wrk-") as folder:
        content, script = Path(folder) / "body", Path(folder) / "post.lua"
        content.write_bytes(body)
        script.write_text(lua(headers, content))
        command = [program, f"-t{threads}", f"-c{connections}", f"-d{duration_s}s", f"--timeout={timeout_s}s"]
        done = subprocess.run(
            [*command, "--latency", "-s", str(script), url],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=duration_s + timeout_s + GRACE_S,
        )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"wrk ended with status {done.returncode}: {(done.stderr or done.stdout)[-500:]}")
    return parse(done.stdout)


def lua(headers: Mapping[str, str], body: Path) -> str:
    """wrk's script: the request, prepared once, and the summary as a line of JSON."""
    lines = [f"wrk.headers[{_quoted(name)}] = {_quoted(value)}" for name, value in headers.items()]
    return _SCRIPT.format(headers="\n".join(lines), body=_quoted(str(body)), mark=_MARK)


def parse(output: str) -> Load:
    """What `lua`'s summary says. Raises RuntimeError when it is not there or is not whole."""
    for line in output.splitlines():
        if line.startswith(_MARK):
            try:
                return _load(json.loads(line.removeprefix(_MARK)))
            except (ValueError, TypeError, LookupError, ZeroDivisionError) as error:
                raise RuntimeError(f"wrk's summary cannot be read ({error!r}): {line}") from error
    raise RuntimeError(f"wrk gave no summary: {output[-500:]!r}")


def _load(said: dict[str, Any]) -> Load:
    why = {kind: said[kind] for kind in ("connect", "read", "write", "status", "timeout")}
    return Load(
        requests=said["requests"],
        rate=(said["requests"] - said["status"]) / (said["duration_us"] / 1e6),
        **{f"{name}_s": said[f"{name}_us"] / 1e6 for name in ("p50", "p90", "p99", "max")},
        failed=sum(why.values()),
        why_failed={kind: count for kind, count in why.items() if count},
    )


def _quoted(text: str) -> str:
    """A Lua string of any bytes."""
    return '"' + "".join(f"\\{byte:03d}" for byte in text.encode()) + '"'
