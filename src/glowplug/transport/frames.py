"""The wire between a gateway and one worker, without any I/O.

A frame is a fixed header of 24 bytes, little-endian, then `meta` (msgpack, at most MAX_META_BYTES), then the
body:

    offset  0  u16 magic   1  u8 kind, u8 flags   4  u32 meta length   8  u64 request   16  u64 body length

With the flag IN_REGION the body's bytes are not on the wire but in a region of the sender's
(shared_memory.py): a request's in the one whose number its meta says, an answer's in the worker's only one.

A request is answered by one REPLY or ERROR; or by a stream: a REPLY whose meta says `stream` and that has no
body, then CHUNKs without meta, whose bodies are the answer's bytes as they go to the client, then one END,
whose ReplyMeta has the phases, or one ERROR. The gateway gives CREDIT for the chunks' bytes as it passes them
on, in any portions: at most STREAM_WINDOW_BYTES of a stream are ever without. Credit for a stream that is
over means nothing.

A worker's first frame is HELLO, with the descriptor of its page (begun.py) and nothing else. CANCEL from the
gateway, without meta or body, is for a request that the worker has not begun; for any other it means nothing.
The peer of a gateway runs a user's code: what it sends is bounded and checked, and nothing is unpickled.
"""

from __future__ import annotations

import math
import struct
from enum import IntEnum
from typing import Any, TypeVar

import msgspec

from glowplug.core.errors import UNREADABLE
from glowplug.core.ladder import PHASES

MAGIC = 0x5047
HEADER = struct.Struct("<HBBIQQ")
MAX_META_BYTES = 64 * 1024
MAX_HEADER_VALUE_CHARS = 256
STREAM_WINDOW_BYTES = 256 * 1024
"""What a worker may send of a stream before the gateway has given it credit for what came before."""
MAX_CHUNK_BYTES = 64 * 1024
"""A chunk's body is not empty, not larger than this, and never in a region."""


class ProtocolError(Exception):
    """The peer broke the protocol; the connection is of no more use and is closed."""


class Kind(IntEnum):
    REQUEST = 1
    REPLY = 2
    ERROR = 3
    CHUNK = 4
    END = 5
    CREDIT = 6
    HELLO = 7
    CANCEL = 8


class Flag(IntEnum):
    """Bits. Not an IntFlag, whose every `&` costs a microsecond."""

    IN_REGION = 1
    """The body lies in the sender's region."""
    NEW_REGION = 2
    """The region's descriptor travels with this frame; it replaces the one that had its number."""
    REGION_FREE = 4
    """The sender of this frame has done with what lay in its peer's region."""


_KINDS: dict[int, Kind] = {int(kind): kind for kind in Kind}
_ALL_FLAGS = Flag.IN_REGION | Flag.NEW_REGION | Flag.REGION_FREE


class Frame(msgspec.Struct):
    """With IN_REGION `body` is empty; `body_bytes` is its length in either case."""

    kind: Kind
    flags: int
    request: int
    meta: bytes
    body: bytes
    body_bytes: int


class RequestMeta(msgspec.Struct, frozen=True, omit_defaults=True):
    """`deadline_s` is by this machine's monotonic clock, which all its processes share and nobody sets; 0 for
    none. A worker does not begin a request whose deadline has passed. `together` requests for this endpoint
    are sent as one batch, this one included; 0 leaves that to the worker. With Flag.IN_REGION the body lies
    in `region`; those in `gone` are not used any more."""

    endpoint: str = ""
    content_type: str = "application/json"
    accept: str = ""
    deadline_s: float = 0.0
    together: int = 0
    region: int = 0
    gone: tuple[int, ...] = ()


class ReplyMeta(msgspec.Struct, frozen=True, omit_defaults=True):
    """`phases` are seconds by the names of core.ladder.PHASES; `origin` the step this instance climbed from,
    set in the answers that waited for the climb. With `stream` chunks follow."""

    status: int = 200
    content_type: str = "application/json"
    phases: dict[str, float] = {}
    origin: str = ""
    stream: bool = False


class CreditMeta(msgspec.Struct, frozen=True):
    """The gateway has passed on `bytes` of this stream's chunks; so many more may be sent."""

    bytes: int


class ErrorMeta(msgspec.Struct, frozen=True, omit_defaults=True):
    code: str
    message: str
    field: str | None = None
    phases: dict[str, float] = {}


_WITHOUT_BODY = frozenset({204, 205, 304})
"""Statuses whose answers end with their head: a body would be taken for the next answer."""
_encode_meta = msgspec.msgpack.Encoder().encode
Meta = TypeVar("Meta", RequestMeta, ReplyMeta, ErrorMeta, CreditMeta)
_DECODERS: dict[type[msgspec.Struct], msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(kind) for kind in (RequestMeta, ReplyMeta, ErrorMeta, CreditMeta)
}


def encode(
    kind: Kind,
    request: int,
    meta: RequestMeta | ReplyMeta | ErrorMeta | CreditMeta | None,
    body_bytes: int = 0,
    flags: int = 0,
) -> bytes:
    """Header and meta of a frame; the body's bytes, unless they lie in a region, follow it on the wire."""
    packed = b"" if meta is None else _encode_meta(meta)
    if len(packed) > MAX_META_BYTES:
        raise ProtocolError(f"meta of {len(packed)} bytes exceeds {MAX_META_BYTES}")
    return HEADER.pack(MAGIC, kind, flags, len(packed), request, body_bytes) + packed


def decode_meta(packed: bytes, into: type[Meta]) -> Meta:
    """Raises ProtocolError when `packed` is not what `into` says, or could break a header it is copied to."""
    try:
        meta: Meta = _DECODERS[into].decode(packed)
    except UNREADABLE as error:
        raise ProtocolError(f"{into.__name__} cannot be read: {error}") from None
    if isinstance(meta, ReplyMeta):
        if not 200 <= meta.status <= 599 or meta.status in _WITHOUT_BODY:
            raise ProtocolError(f"status {meta.status} is not an answer's")
        if not is_header_value(meta.content_type) or not is_header_value(meta.origin):
            raise ProtocolError("content type or origin cannot stand in a header")
    elif isinstance(meta, CreditMeta) and not 0 < meta.bytes <= STREAM_WINDOW_BYTES:
        raise ProtocolError(f"credit for {meta.bytes} bytes makes no sense")
    return meta


def is_header_value(text: str) -> bool:
    return len(text) <= MAX_HEADER_VALUE_CHARS and text.isascii() and (not text or text.isprintable())


def known_phases(phases: dict[str, float]) -> dict[str, float]:
    """Only the phases that have a name of ours and a sensible duration: a worker may have made them up."""
    if len(phases) == 1 and 0.0 <= phases.get("compute", -1.0) < math.inf:
        return phases
    return {name: phases[name] for name in PHASES if name in phases and 0.0 <= phases[name] < math.inf}


class FrameDecoder:
    """Bytes in, frames out, in order. `feed` raises ProtocolError once and for all: do not feed it again.

    Holds at most one unfinished frame: HEADER.size + MAX_META_BYTES + max_body_bytes, and what came with it.
    """

    def __init__(self, max_body_bytes: int, kinds: frozenset[Kind] = frozenset(Kind)) -> None:
        self._max_body_bytes = max_body_bytes
        self._kinds = kinds
        self._buffer = bytearray()
        self._needed = HEADER.size

    @property
    def is_between_frames(self) -> bool:
        return not self._buffer

    def feed(self, data: bytes | bytearray | memoryview) -> list[Frame]:
        """The frames that `data` completes. Raises ProtocolError."""
        buffer, header_bytes = self._buffer, HEADER.size
        source: bytes | bytearray | memoryview = data
        if buffer:
            buffer += data
            source = buffer
        frames = []
        start, length = 0, len(source)
        while length - start >= self._needed:
            magic, kind, flags, meta_bytes, request, body_bytes = HEADER.unpack_from(source, start)
            meta_start = start + header_bytes
            meta_end = meta_start + meta_bytes
            body_end = meta_end + self._check(magic, kind, flags, meta_bytes, body_bytes)
            self._needed = body_end - start
            if length < body_end:
                break
            meta, body = bytes(source[meta_start:meta_end]), bytes(source[meta_end:body_end])
            frames.append(Frame(_KINDS[kind], flags, request, meta, body, body_bytes))
            start, self._needed = body_end, header_bytes
        if source is buffer:
            del buffer[:start]
        elif start < length:
            buffer += source[start:]
        return frames

    def _check(self, magic: int, kind: int, flags: int, meta_bytes: int, body_bytes: int) -> int:
        """Bytes of body on the wire. Raises ProtocolError."""
        if magic != MAGIC:
            raise ProtocolError(f"not a frame (begins with {magic:#06x})")
        known = _KINDS.get(kind)
        if known is None or known not in self._kinds:
            raise ProtocolError(f"frames of kind {kind} are not expected here")
        if flags & ~_ALL_FLAGS or (flags & Flag.NEW_REGION and not flags & Flag.IN_REGION):
            raise ProtocolError(f"flags {flags:#04x} make no sense")
        if meta_bytes > MAX_META_BYTES:
            raise ProtocolError(f"meta of {meta_bytes} bytes exceeds {MAX_META_BYTES}")
        if body_bytes > self._max_body_bytes:
            raise ProtocolError(f"body of {body_bytes} bytes exceeds {self._max_body_bytes}")
        if known is Kind.HELLO and (flags or meta_bytes or body_bytes):
            raise ProtocolError("a HELLO has nothing in it")
        if known is Kind.CHUNK and (flags & Flag.IN_REGION or not 0 < body_bytes <= MAX_CHUNK_BYTES):
            raise ProtocolError(f"a chunk of {body_bytes} bytes makes no sense")
        return 0 if flags & Flag.IN_REGION else body_bytes
