"""The zip of a function: our worker and, unless layers bring them, the packages that it needs.

Equal content makes equal bytes: files in the order of their names, all of one date and mode. So a function
may be named by what is in it.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path, PurePosixPath

import msgspec
import xxhash

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.aws_lambda.limits import check_unzipped

HANDLER = "glowplug.distributed.aws_lambda.handler.handler"
_OURS = ("core", "distributed", "loader", "policy", "transport")
"""Beside the modules at the top: what the contracts of imports allow `distributed` to use."""
_THEIRS = ("llvmlite", "msgspec", "numba", "numpy", "obstore", "typing_extensions", "xxhash", "zstandard")
"""boto3 is in every Python that Lambda has."""
_STRIPPED = ("llvmlite", "zstandard")
"""30 MB of symbols that nobody links to. Of others, libraries that were patched when their wheel was made do
not load any more."""
_LEFT_OUT = ("__pycache__", "cuda", "f2py", "include", "tests")
_LEFT_OUT_FILES = ("_cffi.", "backend_cffi.py")
_SUFFIXES = (".py", ".so", ".json", ".csv")
_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o755 << 16
_LEVEL = 6


class Package(msgspec.Struct, frozen=True, eq=False):
    """`sizes`: bytes unpacked, by distribution."""

    content: bytes
    sizes: dict[str, int]

    @property
    def digest(self) -> str:
        return xxhash.xxh3_128_hexdigest(self.content)


def build(*, with_packages: bool) -> Package:
    """Needs a quarter of a minute with packages, and memory for them. Raises PackageTooLarge,
    InvalidArguments where a package is not installed."""
    found = {name: ("glowplug", path.read_bytes()) for name, path in _ours()}
    if with_packages:
        for distribution in _THEIRS:
            read = _stripped if distribution in _STRIPPED else Path.read_bytes
            found |= {name: (distribution, read(path)) for name, path in _theirs(distribution)}
    sizes: dict[str, int] = defaultdict(int)
    for distribution, content in found.values():
        sizes[distribution] += len(content)
    check_unzipped(sizes)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name in sorted(found):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr, entry.compress_type = _MODE, zipfile.ZIP_DEFLATED
            archive.writestr(entry, found[name][1], compresslevel=_LEVEL)
    return Package(packed.getvalue(), dict(sizes))


def _ours() -> Iterator[tuple[str, Path]]:
    root = Path(__file__).parents[2]
    tops = [path for path in root.iterdir() if path.suffix == ".py"]
    inner = [path for name in _OURS for path in (root / name).rglob("*")]
    for path in (*tops, *inner):
        name = PurePosixPath("glowplug") / path.relative_to(root).as_posix()
        if path.is_file() and _is_wanted(name):
            yield str(name), path


def _theirs(distribution: str) -> Iterator[tuple[str, Path]]:
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError as error:
        raise InvalidArguments(
            f"{distribution} is not installed: pip install 'glowplug[distributed]'"
        ) from error
    for file in files:
        name = PurePosixPath(file.as_posix())
        if ".." not in name.parts and _is_wanted(name):
            yield str(name), Path(str(file.locate()))


def _is_wanted(name: PurePosixPath) -> bool:
    is_code = name.suffix in _SUFFIXES or ".so." in name.name
    is_metadata = name.parts[0].endswith(".dist-info") and name.name == "METADATA"
    if set(_LEFT_OUT) & set(name.parts) or name.name.startswith(_LEFT_OUT_FILES):
        return False
    return is_code or is_metadata


def _stripped(path: Path) -> bytes:
    """Without symbols, where `strip` is there; else as it is."""
    strip = shutil.which("strip")
    if strip is None or not (path.suffix == ".so" or ".so." in path.name):
        return path.read_bytes()
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        command = [strip, "--strip-unneeded", "-o", file.name, str(path)]
        done = subprocess.run(command, capture_output=True, check=False)
        return path.read_bytes() if done.returncode else Path(file.name).read_bytes()
