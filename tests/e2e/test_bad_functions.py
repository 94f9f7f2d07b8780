"""Functions that fail, die, or print without end: their callers are told, nobody else notices."""

from __future__ import annotations

import pytest

from glowplug.core.errors import BuildFailed, FunctionFailed, GlowplugError, InvalidDeclaration, WorkerDied
from tests.e2e.conftest import Server, alive, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


def test_an_exception(server: Server) -> None:
    with pytest.raises(FunctionFailed, match="ValueError: the cat sat on the keyboard"):
        server.client.invoke("misbehave", {"how": "raise"})
    for word in ("Traceback", "gates.py", "the cat sat on the keyboard"):
        until(
            lambda word=word: [line for line in server.client.logs("misbehave") if word in line.text],
            f"the log has the traceback with {word}",
        )
    assert server.client.invoke("misbehave", {"how": "not"}) == "well"


def test_a_result_that_cannot_be_written(server: Server) -> None:
    with pytest.raises(GlowplugError, match="cannot be written as JSON"):
        server.client.invoke("misbehave", {"how": "unwritable"})
    assert server.client.invoke("misbehave", {"how": "not"}) == "well"


@pytest.mark.parametrize("how", ["_exit", "kill", "segfault"])
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_a_worker_that_dies(server: Server, how: str, warm: bool) -> None:
    if warm:
        assert server.client.invoke("misbehave", {"how": "not"}) == "well"
    else:
        server.client.descend("misbehave", "imported")
    with pytest.raises(WorkerDied) as raised:
        server.client.invoke("misbehave", {"how": how})
    ends = {"_exit": "status 7", "kill": "SIGKILL", "segfault": "SIGSEGV"}
    assert "misbehave.default" in raised.value.message
    assert ends[how] in raised.value.message
    assert server.client.invoke("misbehave", {"how": "not"}) == "well"


def test_what_a_function_started_ends_with_it(server: Server) -> None:
    pid = server.outer(server.client.invoke("offspring", {"die": False}))
    assert pid is not None
    assert alive(pid)
    server.client.descend("offspring", "staged")
    until(lambda: not alive(pid), "the child of an idle worker is gone")
    with pytest.raises(WorkerDied):
        server.client.invoke("offspring", {"die": True})
    lines = until(lambda: list(server.client.logs("offspring")), "it said its child's id")
    gone = int(lines[-1].text)
    until(lambda: server.outer(gone) is None, "the child of a worker that died is gone")


def test_sys_exit(server: Server) -> None:
    with pytest.raises(FunctionFailed, match="SystemExit: 3"):
        server.client.invoke("misbehave", {"how": "exit"})
    assert server.client.invoke("misbehave", {"how": "not"}) == "well"


def test_ten_megabytes_of_log(server: Server) -> None:
    assert server.client.invoke("chatter", {"lines": 10_000}) == 10_000
    kept = until(
        lambda: (
            len(lines := list(server.client.logs("chatter"))) == 2000
            and lines[-1].text == "the end"
            and lines
        ),
        "the last line has come, and no more than are kept",
    )
    assert all(len(line.text) <= 8192 for line in kept)
    assert server.client.invoke("add", {"a": 1}) == 2


SETUP = """
import glowplug
app = glowplug.App("setups")

@app.model()
class Model:
    def setup(self):
        raise RuntimeError("no such colour")

    @glowplug.endpoint
    def answer(self) -> int:
        return 1
"""


CALLS = """
import glowplug
from glowplug.client import Client
app = glowplug.App("calls")

@app.function(network=True, env={{"GLOWPLUG_URL": "{url}"}})
def relays(name: str, how: str) -> str:
    with Client() as client:
        return client.invoke(name, {{"how": how}})

@app.function(env={{"GLOWPLUG_URL": "{url}"}})
def relays_in_vain(name: str, how: str) -> str:
    with Client() as client:
        return client.invoke(name, {{"how": how}})
"""


def test_what_another_function_answers(server: Server) -> None:
    """A failure as any other: no death of its own, and nothing about its own client's request."""
    server.deploy(server.write(CALLS.format(url=server.url), "calls.py"))
    wrong = {
        (
            "misbehave",
            "_exit",
        ): r"^WorkerDied \(worker_died\): the worker of misbehave.default died: .*status 7$",
        ("misbehave", "raise"): r"^FunctionFailed \(function_failed\): ValueError: the cat",
        ("nobody", "raise"): r"^UnknownFunction \(unknown_function\): ",
    }
    for (name, how), words in wrong.items():
        with pytest.raises(FunctionFailed, match=words):
            server.client.invoke("relays", {"name": name, "how": how})
        assert server.client.invoke("relays", {"name": "misbehave", "how": "not"}, timeout_s=30.0) == "well"
    with pytest.raises(FunctionFailed, match=r"\(unavailable\): nothing answers at .*\n.*network=True"):
        server.client.invoke("relays_in_vain", {"name": "misbehave", "how": "not"})
    for name in ("relays", "relays_in_vain"):
        server.client.undeploy(name)


LARGE = """
import glowplug
app = glowplug.App("large")

@app.function(target_concurrency={at_once})
def large{at_once}(count: int) -> bytes:
    return bytes(count)
"""


@pytest.mark.parametrize("at_once", [1, 2])
def test_an_answer_that_is_too_large_is_its_functions_failure(server: Server, at_once: int) -> None:
    server.deploy(server.write(LARGE.format(at_once=at_once), f"large{at_once}.py"))
    with pytest.raises(FunctionFailed, match=r"the answer has 70\.0 MB and may have 67\.1 MB: yield it"):
        server.client.invoke(f"large{at_once}", {"count": 70_000_000})
    assert server.client.invoke(f"large{at_once}", {"count": 3}) == bytes(3)
    server.client.undeploy(f"large{at_once}")


SEVERAL = """
import sys
import glowplug
app = glowplug.App("several")

class Base:
    @glowplug.endpoint
    def answer(self) -> int:
        return 1

@app.model()
class First(Base):
    def setup(self):
        raise RuntimeError("no such colour")

@app.model()
class Second(Base):
    def setup(self):
        sys.exit(3)

@app.model()
class Third(Base):
    def setup(self): ...
"""


def test_all_that_fail_are_told_and_the_others_are_deployed(server: Server) -> None:
    with pytest.raises(BuildFailed) as raised:
        server.deploy(server.write(SEVERAL, "several.py"))
    assert raised.value.message.splitlines() == [
        "first.default: RuntimeError: no such colour", "second.default: SystemExit: 3",
    ]  # fmt: skip
    assert server.client.describe("third").state == "ready"


def test_nothing_is_deployed_when_a_source_cannot_be_read(server: Server) -> None:
    good = server.write(SETUP.replace("class Model", "class Unbroken"), "unbroken.py")
    with pytest.raises(InvalidDeclaration, match="no App"):
        server.deploy(good, server.write("raise RuntimeError('no App')", "broken.py"))
    assert "unbroken" not in [found.name for found in server.client.functions()]


def test_a_setup_that_raises(server: Server) -> None:
    with pytest.raises(BuildFailed, match="RuntimeError: no such colour"):
        server.deploy(server.write(SETUP, "failing.py"))
    found = server.client.describe("model")
    assert found.state == "failed"
    assert "no such colour" in found.error
    with pytest.raises(GlowplugError, match="no such colour"):
        server.client.invoke("model")
    server.client.undeploy("model")


def test_a_setup_that_starts_a_thread(server: Server) -> None:
    found = server.client.describe("threaded")
    assert found.highest_step == "imported"
    assert "threads" in found.reason
    server.client.descend("threaded", "imported")
    assert server.client.call("threaded", {"number": 4}).origin == "imported"
    assert server.client.invoke("threaded", {"number": 4}) == 8
