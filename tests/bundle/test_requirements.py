"""What a function may require, and how the files that say so are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from glowplug.bundle.requirements import Resolved, resolve_requirements
from glowplug.core.errors import InvalidDeclaration
from glowplug.core.requirements import check_requirements, hide_credentials, requirement_name
from glowplug.core.specs import Requirements


def resolve(folder: Path, *lines: str, **more: bool) -> Resolved:
    return resolve_requirements(Requirements(lines, **more), folder, "f")


@pytest.mark.parametrize(
    "line",
    [
        "numpy==1.26.4", "Flask", "requests[socks]>=2,<3", "tomli ; python_version < '3.11'",
        "x==1 --hash=sha256:00", "x @ https://h/x-1-py3-none-any.whl#sha256=00", "https://h/x-1-py3-none-any.whl",
        "--index-url https://h/simple", "--find-links=/wheels", "--no-index", "file:///opt/x-1-py3-none-any.whl",
    ],
)  # fmt: skip
def test_allowed(line: str) -> None:
    check_requirements(Requirements((line,)), "f")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "empty"), ("a\nb", "printed"), ("-e .", "linked"), ("./folder", "name a wheel"),
        ("== 1", "name==version"), ("a b", "name==version"),
        ("git+https://h/x.git", "build_from_source"), ("x @ git+https://h/x.git", "build_from_source"),
        ("https://h/x-1.tar.gz", "build_from_source"), ("--no-binary x", "build_from_source"),
        ("--global-option=x", "not supported"), ("--config-settings x", "not supported"),
    ],
)  # fmt: skip
def test_refused(line: str, why: str) -> None:
    with pytest.raises(InvalidDeclaration, match=why) as raised:
        check_requirements(Requirements(("fine", line)), "function f")
    assert raised.value.message.startswith("function f: requirement")


@pytest.mark.parametrize("line", ["git+https://h/x.git", "https://h/x-1.tar.gz", "--no-binary x"])
def test_allowed_from_source(line: str) -> None:
    check_requirements(Requirements((line,), build_from_source=True), "f")


def test_too_much_is_refused() -> None:
    with pytest.raises(InvalidDeclaration, match="more than"):
        check_requirements(Requirements(("x",) * 5001), "f")


@pytest.mark.parametrize("who", ["me:secret", "me@corp.com:secret", "me:p@secret", "token"])
def test_an_index_password_is_not_shown(who: str) -> None:
    shown = "--index-url https://****@h/simple"
    assert hide_credentials(f"--index-url https://{who}@h/simple") == shown
    assert hide_credentials("https://h/a@b https://h?c=d@e") == "https://h/a@b https://h?c=d@e"
    with pytest.raises(InvalidDeclaration) as raised:
        check_requirements(Requirements(("--proxy https://me:secret@h/",)), "f")
    assert "secret" not in raised.value.message


def test_names_are_normalised() -> None:
    assert requirement_name("Typing_Extensions>=4") == "typing-extensions"
    assert requirement_name("--pre") == requirement_name("https://h/x.whl") == ""


def test_files_name_files(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(
        "# ours\nalpha==1  # pinned\n-r more/base.txt\n-c limits.txt\n\nbeta==2 \\\n    --hash=sha256:aa\n"
    )
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "base.txt").write_text("gamma\n-r ../requirements.txt\n")
    (tmp_path / "limits.txt").write_text("delta<3\n")
    found = resolve(tmp_path, "-r requirements.txt", "omega").requirements
    assert found.lines == ("alpha==1", "gamma", "beta==2      --hash=sha256:aa", "omega")
    assert found.constraints == ("delta<3",)


def test_glowplug_is_the_servers(tmp_path: Path) -> None:
    assert resolve(tmp_path, "glowplug[torch]>=0.1", "alpha").requirements.lines == ("alpha",)


def test_a_wheel_travels(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "x-1-py3-none-any.whl").write_bytes(b"")
    (tmp_path / "wheels" / "list.txt").write_text("./x-1-py3-none-any.whl\n")
    found = resolve(tmp_path, "-r wheels/list.txt")
    assert found.requirements.lines == ("./wheels/x-1-py3-none-any.whl",)
    assert found.wheels == ("wheels/x-1-py3-none-any.whl",)


@pytest.mark.parametrize("line", ["./none-1-py3-none-any.whl", "../x-1-py3-none-any.whl", "/etc/x.whl"])
def test_a_wheel_elsewhere_does_not(tmp_path: Path, line: str) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (tmp_path / "x-1-py3-none-any.whl").write_bytes(b"")
    with pytest.raises(InvalidDeclaration, match="no wheel"):
        resolve(folder, line)


def test_a_relative_folder_of_links_becomes_absolute(tmp_path: Path) -> None:
    assert resolve(tmp_path, "-f wheels").requirements.lines == (f"--find-links {tmp_path / 'wheels'}",)


LOCK = """
lock-version = "1.0"
created-by = "test"
[[packages]]
name = "alpha"
version = "1.0"
marker = "python_version >= '3.8'"
wheels = [{ name = "a.whl", url = "https://h/a.whl", hashes = { sha256 = "aa" } },
          { name = "b.whl", url = "https://h/b.whl", hashes = { sha256 = "bb" } }]
"""


def test_a_lock_file(tmp_path: Path) -> None:
    (tmp_path / "pylock.toml").write_text(LOCK)
    lines = resolve(tmp_path, "-r pylock.toml").requirements.lines
    assert lines == ("alpha==1.0 ; python_version >= '3.8' --hash=sha256:aa --hash=sha256:bb",)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("pylock.toml", "packages = 3", "PEP 751"),
        ("pylock.toml", "[[packages]]\nname = 'x'\n", "no released version of x"),
        ("pylock.toml", "not toml", "PEP 751"),
        ("uv.lock", "", "uv export"),
        ("none.txt", None, "cannot be read"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, text: str | None, why: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InvalidDeclaration, match=why):
        resolve(tmp_path, f"-r {name}")
