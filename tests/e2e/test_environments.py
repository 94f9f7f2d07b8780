"""Functions that require packages of their own, side by side, from deploy to restart."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from glowplug.core.errors import BuildFailed, InvalidUpload
from tests.e2e.conftest import Server, serving, until
from tests.wheels import make_wheel

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]
COUNT = 10
HEAD = "import glowplug, tiny\n"
ONE = """
app_{name} = glowplug.App("tiny", requirements={lines})

@app_{name}.function(name="{name}", timeout="50s")
def {name}() -> str:
    return tiny.VERSION
"""


class Shop:
    """A server, and wheels in a folder that its installers can read."""

    def __init__(self, server: Server, shelf: Path) -> None:
        self.server = server
        self.shelf = shelf

    def source(self, **versions: str) -> Path:
        """One function for each name; it requires that version of `tiny`."""
        text = HEAD
        for name, version in versions.items():
            lines = ["--no-index", f"--find-links {self.shelf}", f"tiny=={version}"]
            text += ONE.format(name=name, lines=lines)
        return self.server.write(text)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "glowplug", *arguments, "--url", self.server.url]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def shelf(folder: Path) -> Path:
    for number in range(COUNT):
        make_wheel(folder / "shelf", "tiny", f"{number}.0")
    return folder / "shelf"


@pytest.fixture
def shop(folder: Path, shelf: Path) -> Iterator[Shop]:
    with serving(folder, options=["--installer", "pip"]) as server:
        yield Shop(server, shelf)


def test_two_versions_of_a_package_side_by_side(shop: Shop) -> None:
    found = shop.server.deploy(shop.source(old="1.0", new="2.0"))
    assert [f.state for f in found] == ["ready", "ready"]
    assert found[0].packages != found[1].packages
    assert found[0].environment != found[1].environment
    for name, version in (("old", "1.0"), ("new", "2.0"), ("old", "1.0")):
        assert shop.server.client.invoke(name) == version
    listed = shop.server.client.packages()
    assert {(each.functions, each.installed) for each in listed.packages} == {
        (("old.default",), ("tiny==1.0",)),
        (("new.default",), ("tiny==2.0",)),
    }
    assert all(each.state == "built" and each.installer == "pip" for each in listed.packages)
    lines = list(shop.server.client.logs("new", stream="build"))
    assert any("tiny" in line.text for line in lines)
    shown = shop.command("describe", "old").stdout
    assert found[0].packages in shown


def test_a_failed_installation_leaves_the_old_version(shop: Shop) -> None:
    shop.server.deploy(shop.source(kept="1.0"))
    with pytest.raises(BuildFailed, match=r"(?s)pip could not install what it requires:.*tiny==77\.0"):
        shop.server.deploy(shop.source(kept="77.0"))
    assert shop.server.client.invoke("kept") == "1.0"
    assert "77.0" in shop.server.client.describe("kept").error
    shop.server.deploy(shop.source(kept="2.0"))
    assert shop.server.client.invoke("kept") == "2.0"
    assert shop.server.client.describe("kept").error == ""


def test_an_upload_that_lies_about_its_wheel_is_refused(shop: Shop, tmp_path: Path) -> None:
    from glowplug.bundle.inspect import inspect_source
    from glowplug.bundle.uploads import write_upload

    source = shop.server.write(HEAD + ONE.format(name="liar", lines=["./tiny-1.0-py3-none-any.whl"]))
    make_wheel(source.parent, "tiny", "1.0")
    text = inspect_source(source)
    (source.parent / "tiny-1.0-py3-none-any.whl").unlink()
    (source.parent / "tiny-1.0-py3-none-any.whl").mkdir()
    lying = type(text)(text.declarations, ("app.py",))
    write_upload(source, lying, tmp_path / "upload.tar")
    upload = shop.server.client.upload(tmp_path / "upload.tar")
    with pytest.raises(InvalidUpload, match="no wheel"):
        shop.server.client.deploy("liar", upload)


def test_prune_removes_what_no_version_needs(shop: Shop) -> None:
    shop.server.deploy(shop.source(stays="1.0", goes="2.0"))
    shop.server.client.undeploy("goes")
    until(lambda: len(shop.server.client.functions()) == 1, "it is gone")
    kept = shop.server.client.describe("stays").packages

    def left() -> list[str]:
        report = json.loads(shop.command("env", "prune", "--json").stdout)
        assert kept not in report["removed"]
        return [each["packages"] for each in report["packages"]]

    shop.server.client.descend("stays", "local")
    listed = json.loads(shop.command("env", "list", "--json").stdout)
    assert [e["functions"] for e in listed["packages"] if e["packages"] == kept] == [["stays.default"]]
    until(lambda: left() == [kept], "its zygote is gone and so is what nobody needs")
    assert shop.server.client.invoke("stays") == "1.0"


def test_ten_environments_side_by_side_and_a_restart(folder: Path, shelf: Path) -> None:
    versions = {f"f{number}": f"{number}.0" for number in range(COUNT)}
    with serving(folder) as server:
        shop = Shop(server, shelf)
        found = server.deploy(shop.source(**versions))
        assert {f.state for f in found} == {"ready"}
        assert len({f.packages for f in found}) == COUNT
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(server.client.invoke, versions))
        assert answers == list(versions.values())
        built = {each.packages: each.took_s for each in server.client.packages().packages}
        assert len(built) == COUNT
    with serving(folder) as server:
        until(lambda: server.client.describe("f0").state == "ready", "it is there again")
        assert server.client.invoke("f0") == "0.0"
        answer = server.client.call("f1")
        assert answer.value() == "1.0"
        assert "environment" not in answer.phases
        assert {each.packages: each.took_s for each in server.client.packages().packages} == built, (
            "nothing was installed again"
        )
        # Whoever deletes what was installed makes the next request wait, and that is told.
        lost = server.client.describe("f2").packages
        shutil.rmtree(folder / "state" / "environments" / "built" / lost)
        states = {each.packages: each.state for each in server.client.packages().packages}
        assert states[lost] == "missing"
        answer = server.client.call("f2")
        assert (answer.value(), answer.origin) == ("2.0", "local")
        assert answer.phases["environment"] > 0
