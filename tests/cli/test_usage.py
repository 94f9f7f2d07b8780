"""A command that is used wrongly says how it is used, and ends with status 2, server or not."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["deploy"], "glowplug deploy app.py"),
        (["undeploy"], "glowplug undeploy embedder"),
        (["serve", "--port", "99999"], "--port"),
        (["serve", "--threads", "-3"], "--threads"),
        (["serve", "--log-level", "loud"], "--log-level"),
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
