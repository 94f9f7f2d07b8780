"""What a bundle says of itself, and how versions and environments get their names."""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from typing import Literal

import msgspec

from glowplug.core.ids import EnvironmentId, FunctionId, PackagesId, VersionId
from glowplug.core.specs import BundleFacts, Declaration, EndpointSpec, PartFacts

ClimbMode = Literal["code", "skeleton", "construct", "setup"]
"""How an instance is rebuilt, fastest first that this function allows: `code` has nothing to load;
`skeleton` unpickles the module tree over mapped weights; `construct` runs build() without initialisation
and assigns mapped weights; `setup` runs setup() as written, then swaps in what weights were packed."""

MANIFEST = "manifest.json"


class Manifest(msgspec.Struct, frozen=True):
    """`pack` is the SHA-256 of the pack's file, its name in the store; empty when there are no weights.
    `pack_digest` is its head's (loader.PackInfo), which is believed before the file is whole; empty in
    manifests that are older. `parts` are the other workers of a model that is spread over several."""

    version: VersionId
    function: FunctionId
    declaration: Declaration
    mode: ClimbMode
    reason: str = ""
    pack: str = ""
    pack_bytes: int = 0
    pack_digest: str = ""
    parts: tuple[PartFacts, ...] = ()
    endpoints: tuple[EndpointSpec, ...] = ()
    files: dict[str, str] = {}
    facts: BundleFacts = BundleFacts()
    built_with: dict[str, str] = {}
    """Versions by name (provenance.py); empty in manifests that are older."""
    kernels: bytes = b""
    """Of a model on a device: a record of its first pass (loader/devices/kernels.py)."""

    def pack_of(self, worker: int) -> str:
        """The pack of one of a model's workers; 0 is the first, and the only one unless there are `parts`."""
        return self.parts[worker - 1].pack if worker else self.pack


def version_id(
    function: FunctionId, upload: str, declaration: Declaration, environment: EnvironmentId
) -> VersionId:
    """The same function, upload, declaration and environment are the same version, on any machine."""
    parts = msgspec.json.encode([function, upload, declaration, environment], order="deterministic")
    return VersionId(hashlib.sha256(parts).hexdigest()[:16])


@cache
def installed_packages() -> tuple[str, ...]:
    """`name==version` of every distribution of this interpreter, sorted."""
    import importlib.metadata  # slow, and of no use where functions run

    found = {f"{d.metadata['Name']}=={d.version}" for d in importlib.metadata.distributions() if d.metadata}
    return tuple(sorted(found))


def environment_id(libraries: tuple[str, ...], packages: PackagesId = PackagesId("")) -> EnvironmentId:  # noqa: B008
    """Names an environment: this interpreter, its installed packages, the libraries to import, and `packages`
    that it has of its own."""
    parts = [sys.version, sys.prefix, installed_packages(), libraries, *([packages] if packages else [])]
    return EnvironmentId(hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16])
