"""What is not installed, and how to install it."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

from glowplug.core.errors import GlowplugError

_CALLED = {"nats": "nats-py", "sklearn": "scikit-learn"}
"""By module, packages that are called otherwise."""
_EXTRA = re.compile(r"""(?P<package>[\w.-]+).*extra == ['"](?P<extra>[\w-]+)['"]""")


def not_installed(module: str) -> GlowplugError:
    """Of a module that a command needs: the extra that brings it, or else its package."""
    top = module.partition(".")[0]
    package = _CALLED.get(top, top)
    extra = _extra_of(package)
    wanted = f"'glowplug[{extra}]'" if extra else package
    return GlowplugError(f"this needs {package}, which is not installed: pip install {wanted}")


def _extra_of(package: str) -> str:
    """The smallest that has it; empty where none does."""
    try:
        told = requires("glowplug") or []
    except PackageNotFoundError:
        return ""
    extras: dict[str, list[str]] = {}
    for each in filter(None, map(_EXTRA.match, told)):
        extras.setdefault(each["extra"], []).append(each["package"].lower())
    having = [extra for extra, packages in extras.items() if package.lower() in packages]
    return min(having, key=lambda extra: len(extras[extra]), default="")
