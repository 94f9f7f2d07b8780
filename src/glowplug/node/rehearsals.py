"""For which functions' first passes a context process loads kernels, before it knows its own function."""

from __future__ import annotations

from glowplug.bundle.store import BundleStore
from glowplug.core.ids import VersionId
from glowplug.core.specs import FunctionSpec
from glowplug.loader.devices.kernels import MOST_BYTES

_VERSIONS = 32
"""Of one environment: those that climbed last. More would be seconds for a context that waits a second."""
_ENVIRONMENTS = 256
_MOST_BYTES = 64 * 2**10
"""Of all records in one message, which may have twice as many bytes."""


class Rehearsals:
    """The versions on devices that climbed here of late, by their environment; the latest come first."""

    def __init__(self, store: BundleStore) -> None:
        self._store = store
        self._versions: dict[str, dict[VersionId, None]] = {}

    def heard_of(self, spec: FunctionSpec) -> None:
        """This version climbs."""
        if spec.declaration.device == "cpu":
            return
        versions = self._versions.pop(spec.environment_key, {})
        self._versions[spec.environment_key] = versions
        versions.pop(spec.version, None)
        versions[spec.version] = None
        if len(versions) > _VERSIONS:
            del versions[next(iter(versions))]
        if len(self._versions) > _ENVIRONMENTS:
            del self._versions[next(iter(self._versions))]

    def of(self, environment: str) -> tuple[bytes, ...]:
        """What its models' passes loaded, each as it was recorded where it was built."""
        found: list[bytes] = []
        room = _MOST_BYTES
        for version in reversed(self._versions.get(environment, {})):
            record = self.record(version)
            if record and len(record) <= room:
                found.append(record)
                room -= len(record)
        return tuple(found)

    def record(self, version: VersionId) -> bytes:
        """Empty where there is none, or no such version any more, or who built it wrote more than belongs
        there."""
        manifest = self._store.described(version)
        if manifest is None or len(manifest.kernels) > MOST_BYTES:
            return b""
        return manifest.kernels
