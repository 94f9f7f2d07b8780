"""Deploying again, going back, taking down; secrets; and the journal of it all."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from glowplug.cli.deploying import deploy_files
from glowplug.control.journal_files import replay
from glowplug.core.errors import (
    BuildFailed,
    InvalidDeclaration,
    UnknownFunction,
    UnknownSecret,
    UnknownVersion,
)
from tests.e2e.conftest import Door, Server, found_in, serving, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

SOURCE = """
import glowplug
app = glowplug.App("versions")

@app.function(name="{name}")
def number() -> int:
    return {number}
"""


def source(server: Server, name: str, number: int | str) -> Path:
    return server.write(SOURCE.format(name=name, number=number), "counting.py")


class Load:
    """One caller who asks again and again; `answers` are those that differ from the one before."""

    def __init__(self, server: Server, function: str) -> None:
        self.answers: list[int] = []
        self.count = 0
        self._stop = threading.Event()
        self._server, self._function = server, function

    def run(self) -> None:
        while not self._stop.is_set():
            answer = self._server.client.invoke(self._function)
            self.count += 1
            if self.answers[-1:] != [answer]:
                self.answers.append(answer)

    def stop(self) -> None:
        self._stop.set()


def test_a_new_version_takes_over_without_a_failed_request(server: Server, pool: ThreadPoolExecutor) -> None:
    (first,) = server.deploy(source(server, "number", 1))
    assert server.client.invoke("number") == 1
    load = Load(server, "number")
    running = pool.submit(load.run)
    try:
        until(lambda: load.count > 10, "requests are answered")
        (second,) = server.deploy(source(server, "number", 2))
        until(lambda: load.answers == [1, 2], "the new version answers")
        server.client.rollback("number")
        until(lambda: load.answers == [1, 2, 1], "the old one is back")
        server.client.rollback("number", second.version)
        until(lambda: load.answers == [1, 2, 1, 2], "and the new one again")
    finally:
        load.stop()
        running.result()
    assert server.client.describe("number").versions == (second.version, first.version)
    with pytest.raises(UnknownVersion, match="keeps no version 'nothing'"):
        server.client.rollback("number", "nothing")
    server.client.undeploy("number")
    with pytest.raises(UnknownFunction):
        server.client.invoke("number")
    until(lambda: "number" not in [f.name for f in server.client.functions()], "it is gone")


def test_a_worker_in_use_finishes_while_another_version_takes_over(
    server: Server, door: Door, pool: ThreadPoolExecutor
) -> None:
    text = (Path(__file__).parent / "apps" / "gates.py").read_text().replace("def wait(", "def slow(")
    text = text.replace("return wait(port)", "return slow(port)")
    path = server.write(text, "slow.py")
    server.deploy_some(path, "slow")
    running = pool.submit(server.post, "slow", {"port": door.port})
    visitor = door.visitor()
    path.write_text(text + "\nNEW = 1\n")
    server.deploy_some(path, "slow")
    second = pool.submit(server.post, "slow", {"port": door.port})
    newer = door.visitor()
    assert newer.pid != visitor.pid
    newer.let_go()
    visitor.let_go()
    assert (running.result().json(), second.result().json()) == (visitor.pid, newer.pid)
    server.client.undeploy("slow")


def test_the_same_again_is_nothing_new(server: Server) -> None:
    path = source(server, "same", 7)
    (first,) = server.deploy(path)
    server.client.invoke("same")
    instance = server.client.describe("same").instances[0].instance
    (again,) = server.deploy(path)
    assert again.version == first.version
    found = server.client.describe("same")
    assert (found.versions, found.instances[0].instance) == ((first.version,), instance)
    server.client.undeploy("same")


def test_a_version_that_fails_leaves_the_old_one(server: Server) -> None:
    server.deploy(source(server, "sound", 1))
    broken = server.write(
        "import os\nif 'GLOWPLUG_INSPECT' not in os.environ: raise OSError('no such moon')\n"
        + SOURCE.format(name="sound", number=2),
        "counting.py",
    )
    with pytest.raises(BuildFailed, match="OSError: no such moon"):
        server.deploy(broken)
    found = server.client.describe("sound")
    assert (found.state, len(found.versions)) == ("ready", 1)
    assert "no such moon" in found.error
    assert server.client.invoke("sound") == 1
    server.deploy(source(server, "sound", 3))
    assert server.client.invoke("sound") == 3
    assert server.client.describe("sound").error == ""
    server.client.undeploy("sound")


def test_the_version_that_serves_outlives_failed_ones_and_a_restart(folder: Path) -> None:
    """However many newer ones were accepted since: it serves after a restart, and can be gone back to."""
    with serving(folder) as server:
        server.deploy(source(server, "oldest", 0))
        (sound,) = server.deploy(source(server, "oldest", 1))
        for number in range(2, 6):
            broken = f"import os\nif 'GLOWPLUG_INSPECT' not in os.environ: raise OSError({number})\n"
            with pytest.raises(BuildFailed):
                server.deploy(
                    server.write(broken + SOURCE.format(name="oldest", number=number), "counting.py")
                )
        assert server.client.invoke("oldest") == 1
        server.client.rollback("oldest")
        until(lambda: server.client.invoke("oldest") == 0, "it goes back")
        server.client.rollback("oldest", sound.version)
        until(lambda: server.client.invoke("oldest") == 1, "and forth")
    with serving(folder) as server:
        assert server.client.invoke("oldest") == 1


def test_two_deploys_of_one_name_at_once(server: Server, pool: ThreadPoolExecutor) -> None:
    paths = [source(server, "twice", number) for number in (1, 2)]
    for deploy in [pool.submit(server.deploy, path) for path in paths]:
        deploy.result()
    last = until(lambda: server.client.invoke("twice"), "an answer")
    found = server.client.describe("twice")
    assert found.state == "ready"
    assert last in (1, 2)
    assert len(found.versions) in (1, 2)
    assert found.error == ""
    server.client.undeploy("twice")


SECRETIVE = """
import os
import glowplug
app = glowplug.App("secretive")

@app.function(secrets=["PASSPHRASE"])
def length() -> int:
    return len(os.environ["PASSPHRASE"])
"""


def content(path: Path) -> bytes | None:
    """None of what is no file, or gone: what was undeployed before is removed meanwhile."""
    try:
        return path.read_bytes() if path.is_file() else None
    except FileNotFoundError:
        return None


def test_secrets(server: Server) -> None:
    path = server.write(SECRETIVE)
    with pytest.raises(InvalidDeclaration, match="no secret PASSPHRASE in namespace default"):
        server.deploy(path)
    value = "correct horse battery staple"
    server.client.set_secret("PASSPHRASE", value)
    assert server.client.secrets() == ["PASSPHRASE"]
    assert server.client.secrets("other") == []
    server.deploy(path)
    assert server.client.invoke("length") == len(value)
    shown = [server.http.get(path).text for path in
             ("/system/functions", "/system/function/length", "/system/logs?name=length", "/system/secrets",
              "/system/info", "/system/traces")]  # fmt: skip
    kept = {
        path: found
        for path in found_in(server.folder / "state", "**/*")
        if not path.name.startswith("glowplug.db") and (found := content(path)) is not None
    }
    assert any("journal" in str(path) for path in kept)
    assert not any(value in text for text in shown)
    assert not any(value.encode() in found for found in kept.values())
    for path in (server.folder / "state").glob("glowplug.db*"):
        assert path.stat().st_mode & 0o077 == 0, f"{path.name} can be read by functions"
    server.client.remove_secret("PASSPHRASE")
    with pytest.raises(UnknownSecret):
        server.client.remove_secret("PASSPHRASE")
    assert server.client.invoke("variable", {"name": "COLOUR"}) == "green"
    assert server.client.invoke("variable", {"name": "PASSPHRASE"}) is None
    server.client.undeploy("length")


def test_variables_given_at_deploy(server: Server) -> None:
    path = server.write(SECRETIVE.replace('secrets=["PASSPHRASE"]', 'env={"PASSPHRASE": "a"}'))
    for variables in ({"A=B": "c"}, {"A": "b\0c"}, {"A": "x" * 20_000}):
        with pytest.raises((InvalidDeclaration, Exception)) as raised:
            deploy_files(server.url, None, [path], quiet=True, options={"envVars": variables})
        assert getattr(raised.value, "status", 0) == 400
    deploy_files(server.url, None, [path], quiet=True, options={"envVars": {"PASSPHRASE": "abc"}})
    assert server.client.invoke("length") == 3
    server.client.undeploy("length")


ELSEWHERE = """
import time
import glowplug
app = glowplug.App("elsewhere")

@app.function(env={"TZ": "AWAY-09:00"})
def noon() -> list:
    return [time.tzname[0], time.localtime(0).tm_hour]
"""


def test_a_time_zone_is_that_of_the_function(server: Server) -> None:
    server.deploy(server.write(ELSEWHERE, "elsewhere.py"))
    assert server.client.invoke("noon") == ["AWAY", 9]
    server.client.undeploy("noon")


def test_the_journal_replays_to_the_same_commands(server: Server) -> None:
    """Whatever the tests before this one did: timeouts, cancellations, deaths, deploys."""
    server.client.invoke("add", {"a": 1})
    count = until(lambda: replay(server.folder / "state" / "journal").events, "the journal has events")
    assert count > 20
    report = replay(server.folder / "state" / "journal")
    assert not report.mismatches, report.mismatches[:3]
