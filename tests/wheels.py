"""Tiny packages, made in the test: a wheel without a build, and a source whose build is the test's to say."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

_BACKEND = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def make_wheel(
    folder: Path, name: str, version: str, code: str | None = None, requires: Sequence[str] = ()
) -> Path:
    """A wheel with one module of the package's name; without `code` it knows its VERSION."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    files = {
        f"{name}.py": code if code is not None else f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for place, text in (*files.items(), (f"{info}/RECORD", record)):
            archive.writestr(place, text)
    path.chmod(0o644)
    return path


def make_source(folder: Path, name: str, version: str, build: str) -> Path:
    """A source archive. Building a wheel of it runs the statements of `build` first."""
    wheel = make_wheel(folder / "built", name, version)
    indented = "".join(f"    {line}\n" for line in build.splitlines())
    backend = (
        f"WHEEL = {wheel.read_bytes()!r}\n"
        "def build_wheel(folder, config_settings=None, metadata_directory=None):\n"
        f"{indented}"
        f"    name = {wheel.name!r}\n"
        "    with open(f'{folder}/{name}', 'wb') as file:\n"
        "        file.write(WHEEL)\n"
        "    return name\n"
    )
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "pyproject.toml": f"{_BACKEND}[project]\nname = {name!r}\nversion = {version!r}\n",
        "backend.py": backend,
    }
    wheel.unlink()
    path = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for place, text in files.items():
            info = tarfile.TarInfo(f"{name}-{version}/{place}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    path.chmod(0o644)
    return path
