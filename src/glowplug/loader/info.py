"""What a pack holds, without opening its tensors."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from glowplug.loader.format import Header, Layout, Section, TensorEntry, UnitEntry, digest


class PackInfo(msgspec.Struct, frozen=True):
    """`digest` is the content's address: 64 hex digits that cover everything but `compute_s`.

    Units are in the order of execution; `compute_s` is seconds per unit, None when it was not measured.
    """

    path: str
    digest: str
    file_nbytes: int
    weights_offset: int
    weights_nbytes: int
    skeleton: Section
    prime: Section | None
    tensors: tuple[TensorEntry, ...]
    units: tuple[UnitEntry, ...]
    compute_s: tuple[float, ...] | None = None

    @classmethod
    def of(
        cls, path: str, header: Header, places: Layout, body: bytes, compute_s: Sequence[float] | None
    ) -> PackInfo:
        return cls(
            path=path,
            digest=digest([body]).hex(),
            file_nbytes=places.file_nbytes,
            weights_offset=places.weights_offset,
            weights_nbytes=header.weights_nbytes,
            skeleton=header.skeleton,
            prime=header.prime,
            tensors=header.tensors,
            units=header.units,
            compute_s=None if compute_s is None else tuple(compute_s),
        )
