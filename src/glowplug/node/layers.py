"""How a process of an environment with packages of its own finds everything else.

What the environment has comes first, so what a function requires is what it gets. After that come the
server's own packages, which is where Glowplug's few dependencies and large libraries such as torch are found
without a second copy of them. Glowplug itself is always the server's: its processes speak to each other.
See docs/decisions/025.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

import glowplug
from glowplug.node import zygote

_LAYERS, _HOME = "GLOWPLUG_LAYERS", "GLOWPLUG_PACKAGE"
BEGIN = f"""
import importlib.util, os, sys
sys.path += os.environ["{_LAYERS}"].split(os.pathsep)
home = os.environ["{_HOME}"]
spec = importlib.util.spec_from_file_location("glowplug", os.path.join(home, "__init__.py"),
                                              submodule_search_locations=[home])
sys.modules["glowplug"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["glowplug"])
{zygote.COMMAND}
"""
"""What such a process runs first; it is given the variables of `carrying_layers`."""


def python_path() -> str:
    """PYTHONPATH for processes of the server's own interpreter: Glowplug's folder and what we were given."""
    paths = [str(_package().parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return os.pathsep.join(str(Path(p).absolute()) for p in dict.fromkeys(paths) if p)


def carrying_layers() -> dict[str, str]:
    """The environment variables that `BEGIN` reads."""
    return {_LAYERS: os.pathsep.join(server_paths()), _HOME: str(_package())}


def server_paths() -> list[str]:
    """The folders of this interpreter's packages: its search path without the standard library."""
    version = f"{sys.version_info.major}{sys.version_info.minor}"
    standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    standard |= {f"{sys.base_prefix}/lib/python{version}.zip", ""}
    found = [p for p in sys.path if p not in standard and Path(p).name != "lib-dynload"]
    return list(dict.fromkeys(str(Path(p).absolute()) for p in found))


def _package() -> Path:
    return Path(glowplug.__file__).absolute().parent
