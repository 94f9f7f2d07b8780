"""Writing a pack: straight from the tensors' memory to the file, never through a second copy."""

from __future__ import annotations

import itertools
import os
import secrets
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from glowplug.loader import skeleton
from glowplug.loader.attributes import attributes
from glowplug.loader.checked import Check
from glowplug.loader.errors import PackCorrupt
from glowplug.loader.format import (
    Header,
    Layout,
    Section,
    UnitEntry,
    block_checksums,
    digest,
    encode,
    encode_timings,
    layout,
)  # fmt: skip
from glowplug.loader.info import PackInfo
from glowplug.loader.modes import turned
from glowplug.loader.prime import Prime
from glowplug.loader.reader import open_pack
from glowplug.loader.roots import held_tensors, tensor_names
from glowplug.loader.skeleton import TensorTable
from glowplug.loader.tensors import Plan, plan

if TYPE_CHECKING:
    from torch import Tensor


Piece = bytes | memoryview
_TOGETHER_BYTES = 64 * 2**20
_MOST_PIECES = 1024
"""Linux takes no more at once."""


def write_pack(
    path: str | Path,
    obj: object,
    *,
    order: Sequence[Tensor] | None = None,
    prime: Prime | None = None,
    compute_s: Mapping[str, float] | None = None,
    durable: bool = True,
    checked: bool = False,
) -> PackInfo:
    """Packs any object graph: a module, an instance that holds some, a dict.

    `order` is the tensors in the order of execution, `compute_s` seconds by module path in `obj`; both, and
    `prime`, come from a trace. The same content gives the same bytes, whenever and wherever, but for
    `compute_s`, and for sets of what sets.py does not order. The file appears under its name when it is
    complete and, if `durable`, on disk, readable by everyone; a failure leaves nothing behind.

    `checked`: what was written is read again and compared before it has its name, and loads on this machine
    are spared that (checked.py).

    Raises NotPicklable, OSError (no space left, no such folder), and, if `checked`, PackCorrupt.
    """
    target = Path(path)
    graph, table = skeleton.dump(obj)
    tensors = table.tensors
    primer = msgspec.msgpack.encode(prime) if prime else None
    layers = plan(tensors, order, tensor_names(obj))
    held = Counter(id(tensor) for _, _, tensor in held_tensors(obj))
    header = Header(
        tensors=layers.tensors,
        storages=layers.storages,
        units=layers.units,
        weights_nbytes=layers.weights_nbytes,
        skeleton=Section(len(graph), digest([graph])),
        prime=Section(len(primer), digest([primer])) if primer else None,
        exposed=_exposed(table, held),
        attributes=_attributes(obj, table, held),
        turned=turned(obj),
    )
    timed = compute_s is not None
    _, body = encode(header, timed)
    places = layout(header, len(body), timed)

    temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(6)}.tmp")
    try:
        with _create(temporary) as file:
            # Takes the space at once: a full disk is noticed before the work, and extents come out whole.
            os.posix_fallocate(file.fileno(), 0, places.file_nbytes)
            header = msgspec.structs.replace(header, units=_write_weights(file, layers, places))
            seconds = None if compute_s is None else _unit_seconds(header.units, compute_s)
            file.seek(places.timings_offset)
            file.write(encode_timings(seconds or ()))
            file.seek(0)
            preamble, body = encode(header, timed)
            for part in (preamble, body, graph, primer or b""):
                file.write(part)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if checked:
            _compare_and_rename(temporary, target)
        else:
            temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(target.parent)
    return PackInfo.of(str(target), header, places, body, seconds)


def _compare_and_rename(temporary: Path, target: Path) -> None:
    with open_pack(temporary, name=str(target)) as written:
        check = Check(written.fileno(), is_new=True)
        try:
            written.compare()
        except PackCorrupt as error:
            why = "a weight changed meanwhile, or the disk is damaged, and nothing was written"
            raise PackCorrupt(f"{error}: {why}") from error
        temporary.replace(target)
        check.renamed()
        check.passed()


def _create(path: Path) -> BinaryIO:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    return os.fdopen(fd, "wb")


def _write_weights(file: BinaryIO, layers: Plan, places: Layout) -> tuple[UnitEntry, ...]:
    """Writes every storage at its place; returns the units with their hashes, gaps (zeros) included."""
    written: list[UnitEntry] = []
    pieces, start = list[Piece](), places.weights_offset
    end = start
    storages = iter(zip(layers.storages, layers.runs, strict=True))
    upcoming = next(storages, None)
    for unit in layers.units:
        chunks: list[Piece] = []
        at = unit.offset
        while upcoming is not None and upcoming[0].offset + upcoming[0].nbytes <= unit.offset + unit.nbytes:
            storage, run = upcoming
            chunks += [bytes(storage.offset - at + run.pad_bytes), run.memory()]
            at = storage.offset + storage.nbytes
            upcoming = next(storages, None)
        if sum(map(len, pieces)) >= _TOGETHER_BYTES:
            _write_together(file.fileno(), pieces, start)
            pieces, start = [], end
        pieces += [bytes(places.weights_offset + unit.offset - end), *chunks]
        end = places.weights_offset + at
        sealed = msgspec.structs.replace(unit, hash=digest(chunks), checksums=block_checksums(chunks))
        written.append(sealed)
    _write_together(file.fileno(), pieces, start)
    return tuple(written)


def _write_together(fd: int, pieces: list[Piece], offset: int) -> None:
    """One after the other, in as few calls as may be: what comes in one call is cached in huge pages, as far
    as the file system can, and those are mapped at once. Raises OSError."""
    waiting = deque(pieces)
    while waiting:
        written = os.pwritev(fd, list(itertools.islice(waiting, _MOST_PIECES)), offset)
        offset += written
        while waiting and written >= len(waiting[0]):
            written -= len(waiting.popleft())
        if written:
            waiting[0] = memoryview(waiting[0])[written:]


def _exposed(table: TensorTable, held: Mapping[int, int]) -> tuple[int, ...]:
    """Those with more references than modules account for: in plain attributes, in lists. And those in reach
    of code that runs when the object is rebuilt, for that may refer to them too, or make views of them."""
    reached = {id(tensor) for one in table.remade for _, _, tensor in held_tensors(one)}
    return tuple(
        number
        for number, tensor in enumerate(table.tensors)
        if table.references[number] != held[id(tensor)] or id(tensor) in reached
    )


def _attributes(obj: object, table: TensorTable, held: Mapping[int, int]) -> tuple[tuple[int, str], ...]:
    """Where those with more references than modules account for lie. One without a name that something else
    refers to as well, a set or an object of a kind that nobody can look into, has no place at all."""
    others = {
        id(tensor): references - held[id(tensor)]
        for tensor, references in zip(table.tensors, table.references, strict=True)
        if references > held[id(tensor)]
    }
    found: defaultdict[int, list[str]] = defaultdict(list)
    for path, tensor in attributes(obj) if others else ():
        if id(tensor) in others:
            found[id(tensor)].append(path)
    return tuple(
        (number, path)
        for number, tensor in enumerate(table.tensors)
        for path in sorted(found[id(tensor)])
        if held[id(tensor)] or len(found[id(tensor)]) == others[id(tensor)]
    )


def _unit_seconds(units: Sequence[UnitEntry], compute_s: Mapping[str, float]) -> tuple[float, ...]:
    return tuple(sum(compute_s.get(layer, 0.0) for layer in unit.layers) for unit in units)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
