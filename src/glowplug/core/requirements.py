"""Lines of requirements files: which are allowed, and what they name. Pure: no file is read here."""

from __future__ import annotations

import re

from glowplug.core.errors import InvalidDeclaration
from glowplug.core.specs import Requirements

_MAX_LINES = 5000
_MAX_CHARS = 4 * 2**20
_OPTIONS = ("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--no-index", "--pre",
            "--prefer-binary", "--only-binary", "--require-hashes", "--trusted-host")  # fmt: skip
_SOURCE_OPTIONS = ("--no-binary",)
_NAME = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?")
_LOCATION = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?/?[^\s#]*/[^\s#]*|[^\s#;]+\.whl")
_VERSION = re.compile(r"\s*(?:$|[;(<>=!~,])")
_CREDENTIALS = re.compile(r"(?<=://)[^/?#\s]+@")
"""Up to the last @ before the path: a user's name may be an address, and a password have one too."""


def check_requirements(wanted: Requirements, what: str) -> None:
    """Raises InvalidDeclaration naming the first line that is not allowed, and why."""
    lines = (*wanted.lines, *wanted.constraints)
    if len(lines) > _MAX_LINES or sum(map(len, lines)) > _MAX_CHARS:
        raise InvalidDeclaration(
            f"{what}: requirements have more than {_MAX_LINES} lines or {_MAX_CHARS} bytes"
        )
    for line in lines:
        reason = _refusal(line, wanted.build_from_source)
        if reason:
            raise InvalidDeclaration(f"{what}: requirement {hide_credentials(line)[:120]!r}: {reason}")


def _refusal(line: str, from_source: bool) -> str:
    if not line.isprintable() or not line.strip():
        return "it is empty or has characters that cannot be printed"
    if line.startswith("-"):
        option = re.split(r"[\s=]", line, maxsplit=1)[0]
        if option in _SOURCE_OPTIONS:
            return "" if from_source else "builds run a package's own code; allow it: build_from_source=True"
        if option in ("-e", "--editable"):
            return "a folder cannot be linked into an environment; build a wheel of it and name that"
        return "" if option in _OPTIONS else "this option is not supported here"
    place = location(line)
    if place and not place.endswith(".whl"):
        if is_local(place):
            return "name a wheel (.whl), a version, or a file after -r"
        if not from_source:
            return "only wheels are installed; to let its own code run: build_from_source=True"
    return "" if place or requirement_name(line) else "write it as 'name==version'"


def requirement_name(line: str) -> str:
    """The normalised name of the distribution that a line asks for; empty when it is none of that kind."""
    found = _NAME.match(line)
    if found is None:
        return ""
    rest = line[found.end() :]
    if not (_VERSION.match(rest) or rest.lstrip().startswith(("@", "--hash"))):
        return ""
    return re.sub(r"[-_.]+", "-", found[1]).lower()


def location(line: str) -> str:
    """The path or URL that a line asks for, without its fragment; empty when it asks for a name."""
    name, at, rest = line.partition("@")
    text = rest.strip() if at and requirement_name(f"{name.strip()} @") and "/" not in name else line
    found = _LOCATION.match(text)
    return found[0] if found else ""


def is_local(place: str) -> bool:
    """Whether a location is a path, and not a URL."""
    return "://" not in place and not place.startswith("file:")


def hide_credentials(text: str) -> str:
    """`text` without the user names and passwords of the URLs in it."""
    return _CREDENTIALS.sub("****@", text)
