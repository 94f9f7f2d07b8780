"""A command that is used wrongly says how it is used, and ends with status 2, server or not."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from glowplug.cli.output import fail
from glowplug.client.connection import NotReached
from glowplug.core.errors import GlowplugError, InvalidArguments, NoSpace, QueueFull, UnknownFunction


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["deploy"], "glowplug deploy app.py"),
        (["undeploy"], "glowplug undeploy embedder"),
        (["scale", "f", "1.5"], "1.5 is not a whole number"),
        (["serve", "--gateways", "1.5"], "--gateways: 1.5 is not a whole number"),
        (["serve", "--port", "99999"], "--port"),
        (["serve", "--threads", "-3"], "--threads"),
        (["serve", "--log-level", "loud"], "--log-level"),
        (["serve", "--devices", "abacus"], "--devices"),
        (["serve", "--reload"], "--reload"),
        (["serve", "--preload-cpu-share", "0"], "--preload-cpu-share"),
        (["serve", "--memory", "1KB"], "--memory"),
        (["serve", "--memory", "100TB", "--no-give-way"], "--memory: 100.0 TB is more than the "),
        (["serve", "--host", "0.0.0.0"], "--token"),
        (["deploy", "app.py", "--env", "COLOUR"], "write NAME=VALUE"),
        (["invoke", "f", "argument"], "write name=value"),
        (["invoke", "f", "--data", "{"], "--data is not valid JSON"),
        (["invoke", "f", "--npy", "none.npy"], "--npy none.npy: "),
        (["invoke", "f", "--npy", "/dev/null"], "--npy /dev/null: "),
        (["invoke", "f", "=1"], "write name=value"),
        (["invoke", "f", "a=1", "a=2"], "'a' is given twice"),
        (["invoke", "f", "--priority", "batch"], "belong to --spawn"),
        (["calls", "cancel"], "name the calls"),
        (["devices", "fail", "local/virtual0", "slow", "--factor", "nan"], "--factor: nan"),
        (["devices", "fail", "local/virtual0", "slow", "--factor", "inf"], "--factor: inf"),
        (["serve", "--token", "clé"], "--token"),
        (["invoke", "f", "--key", "k"], "belong to --spawn"),
        (["invoke", "f", "a=1", "--data", "{}"], "give the arguments once"),
        (["calls", "retry"], "use --all"),
        (["top", "--interval", "0"], "--interval"),
        (["replay", "zipf:functions=3", "--nodes", "0"], "--nodes"),
        (["replay", "zipf:functions=3", "--memory", "lots"], "--memory"),
        (["replay", "zipf:functions=3", "--live", "--memory", "1GB", "-p", "fixed,lad"], "called 'lad'"),
        (["replay", "zipf:functions=3", "--live", "--memory", "1GB", "-p", "fixed,"], "policy is called ''"),
        (["replay", "nowhere"], "no journal in nowhere"),
        (["replay", str(Path(__file__).parent)], "no journal in "),
        (["explain", "1", "--journal", str(Path(__file__).parent)], "no journal in "),
        (["workload", "zipf:functions=3,rate_per_min=60,minutes=1", "--plot", "x.abc"], "--plot x.abc: "),
        (["simulate", "zipf:functions=3", "--find", "devices"], "needs --p99"),
        (["simulate", "zipf:functions=3", "--seed", "-1"], "--seed"),
        (["workload", "zipf:functions=3", "--seed", "-1"], "--seed"),
        (["workload", "zipf:functions=3,seed=\u00b2"], "is not a whole number"),
        (["bench", "abacus"], "no experiment is called"),
        (["bench", "coldstart", "--repeats", "0"], "--repeats"),
        (["bench", "coldstart", "--json", "nowhere/out.json"], "nowhere/out.json cannot be written"),
        (["bench", "coldstart", "--plot", "/"], "/ cannot be written"),
        (["bench", "coldstart", "--plot", "x.abc"], "x.abc: a picture's name ends in one of"),
        (["replay", "zipf:functions=3", "--plot", "x.abc"], "--plot x.abc: a picture's name ends in one of"),
        (["simulate", "zipf:functions=3", "--plot", "nowhere/x.png"], "there is no folder nowhere"),
        (["bench", "coldstart", "--set", "speed=9"], "sets nothing"),
        (["distributed", "plan", "dense:9"], "is no model"),
        (["distributed", "plan", "sparse:1024x120", "--plans", "luck"], "--plans luck"),
        (["distributed", "plan", "sparse:1024x120", "--samples", "0"], "--samples 0"),
        (["distributed", "plan", "sparse:1024x120", "--budget", "nan"], "--budget nan"),
        (["distributed", "plan", "sparse:1024x120", "--slowdown", "nan"], "--slowdown nan"),
        (["simulate", "zipf:functions=3", "--policy", ","], "--policy"),
        (["simulate", "zipf:functions=3", "--devices", "100000000"], "--devices"),
        (["distributed", "run", "sparse:1024x120", "--samples", "-1"], "--samples"),
        (["distributed", "run", "sparse:1024x120", "--workers", "0"], "--workers"),
        (["distributed", "run", "sparse:1024x120", "--method", "luck"], "no method luck"),
        (["distributed", "run", "sparse:1024x120", "--plan", "serial", "--channel", "pigeon"], "no channel"),
        (["distributed", "run", "sparse:1024x120", "--plan", "hybrid", "--replicas", "3"], "--replicas 3"),
        (["distributed", "run", "sparse:1024x120", "--on", "lambda"], "needs --store"),
        (["ps", "--url", "localhost:8000"], "is not the URL of a server"),
        (["ps", "--url", "http://localhost:port"], "is not the URL of a server"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_refused(words: list[str], told: str) -> None:
    command = [sys.executable, "-m", "glowplug", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert told in " ".join(done.stderr.split())
    assert (done.returncode, done.stdout) == (2, "")


def test_a_disk_that_takes_no_more_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(200_000))
    (tmp_path / "app.py").write_text(
        'import glowplug\napp = glowplug.App("a")\n@app.function(include=["big"])\ndef f(): ...\n'
    )
    script = f"ulimit -f 64; exec {shlex.quote(sys.executable)} -m glowplug deploy app.py"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("words", [[], ["--help"]], ids=" ".join)
def test_the_list_of_commands_says_what_each_does(words: list[str]) -> None:
    command = [sys.executable, "-m", "glowplug", *words]
    wide = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(command, env=wide, capture_output=True, text=True, check=True, timeout=120)
    listed = [line.strip("│ ").split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("│")]
    assert ["undeploy", "Remove functions. Requests that run are finished first."] in listed
    assert all(len(words) == 2 for words in listed)


def test_a_secret_has_a_value() -> None:
    command = [sys.executable, "-m", "glowplug", "secret", "set", "API_KEY", "--url", "http://127.0.0.1:9"]
    done = subprocess.run(command, input="\n", capture_output=True, text=True, check=False, timeout=120)
    assert "API_KEY: the value is empty" in " ".join(done.stderr.split())
    assert done.returncode == 2
    binary = subprocess.run(command, input=b"caf\xe9", capture_output=True, check=False, timeout=120)
    assert b"API_KEY: the value is no text in UTF-8" in binary.stderr
    assert binary.returncode == 2


def test_a_token_that_no_header_carries_is_not_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "glowplug", "ps"], env={**os.environ, "GLOWPLUG_TOKEN": "clé"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert "the token" in done.stderr
    assert "clé" not in done.stderr
    assert done.returncode == 2


def test_a_log_for_machines_is_json_whoever_writes_it() -> None:
    lines = logged(as_json=True)
    assert [json.loads(line)["event"] for line in lines] == ["one", "two of 3"]
    assert "ValueError" in json.loads(lines[1])["exception"]


def test_a_log_in_a_file_has_no_colours() -> None:
    lines = logged(as_json=False)
    assert "one" in lines[0]
    assert lines[1] == "ERROR library two of 3"
    assert not any("\x1b" in line for line in lines)


def logged(as_json: bool) -> list[str]:
    script = f"""
import logging, structlog
from glowplug.cli.serve import _set_up_logging
_set_up_logging("info", {as_json})
structlog.get_logger().info("one")
logging.getLogger("library").error("two of %d", 3, exc_info=ValueError("four"))
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stderr.splitlines()


def test_doctor_tells_a_folder_that_cannot_be_made() -> None:
    command = [sys.executable, "-m", "glowplug", "doctor", "--state-dir", "/dev/null/state"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert "/dev/null cannot be written" in done.stdout
    assert done.returncode == 1


def test_what_is_deployed_is_a_python_source(tmp_path: Path) -> None:
    (tmp_path / "app.txt").write_text("import glowplug\n")
    command = [sys.executable, "-m", "glowplug", "deploy", "app.txt"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert "must end in .py" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.returncode == 2


WORKLOAD = ["workload", "zipf:functions=3,rate_per_min=60,minutes=1"]


@pytest.mark.parametrize(
    "words",
    [
        WORKLOAD,
        [*WORKLOAD, "--json"],
        ["bench", "distributed", "--set", "parts=formula"],
        ["bench", "--help"],
        ["--version"],
    ],
    ids=["table", "json", "bench", "help", "version"],
)
def test_whoever_has_read_enough_is_no_failure(words: list[str]) -> None:
    """As `| head` under pipefail."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "glowplug", *words]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False, timeout=120)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_another_pipe_that_breaks_is_a_failure() -> None:
    script = """
from glowplug import cli

@cli.app.command
def ask() -> None:
    raise BrokenPipeError(32, "Broken pipe")

cli.main()
"""
    command = [sys.executable, "-c", script, "ask"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "Broken pipe" in done.stderr


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotReached("no"), 3),
        (QueueFull("no"), 3),
        (NoSpace("no"), 3),
        (InvalidArguments("no"), 2),
        (UnknownFunction("no"), 1),
    ],
)
def test_the_exit_status_says_what_kind_of_error_it_is(error: GlowplugError, status: int) -> None:
    assert fail(error) == status
