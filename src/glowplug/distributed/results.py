"""What comes out of the last layer: kept encoded by each worker, put together by the root."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from glowplug.distributed.channels.base import Buffer
from glowplug.distributed.codec import decode_rows, encode_rows
from glowplug.distributed.errors import FrameMismatch
from glowplug.distributed.network import Floats, Ids
from glowplug.distributed.orders import Orders

Output = Floats | NDArray[np.bool_]
"""Activations (rows, samples), or the samples' categories (samples,): whether any row is above zero."""
_decoder = msgspec.msgpack.Decoder(dict[int, bytes])


class Results:
    """One worker's rows of the result, by share."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._shares: dict[int, bytes] = {}

    def add(self, share: int, rows: Ids, values: Floats) -> None:
        if self._orders.collect == "categories":
            self._shares[share] = np.packbits((values > 0).any(axis=0)).tobytes()
        else:
            self._shares[share] = encode_rows(rows, values)

    def pack(self) -> bytes:
        return msgspec.msgpack.encode(self._shares)

    def unpack(self, packed: Buffer) -> None:
        """Raises msgspec.MsgspecError."""
        self._shares.update(_decoder.decode(packed))


def put_together(orders: Orders, packed: Mapping[int, Buffer]) -> Output:
    """`packed` by worker: those that compute rows of the last layer. Raises FrameError,
    msgspec.MsgspecError."""
    if orders.collect == "categories":
        found: NDArray[np.bool_] = np.zeros(orders.samples, np.bool_)
        for number, body in _blocks(orders, packed):
            share = orders.shares[number]
            if len(body) != -(-share.samples // 8):
                raise FrameMismatch(f"{len(body)} bytes of categories came for {share.samples} samples")
            bits = np.unpackbits(np.frombuffer(body, np.uint8), count=share.samples)
            found[share.first : share.end] |= bits.view(np.bool_)
        return found
    output = np.zeros((orders.outputs, orders.samples), np.float32)
    for number, body in _blocks(orders, packed):
        share = orders.shares[number]
        block = decode_rows(body, samples=share.samples, neurons=orders.outputs, most_rows=orders.outputs)
        output[block.rows, share.first : share.end] = block.values
    return output


def _blocks(orders: Orders, packed: Mapping[int, Buffer]) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    for worker, body in packed.items():
        blocks = _decoder.decode(body)
        expected = {
            number for number, share in enumerate(orders.shares) if share in orders.final_shares(worker)
        }
        if blocks.keys() != expected:
            raise FrameMismatch(
                f"worker {worker} sent results of shares {sorted(blocks)}, not {sorted(expected)}"
            )
        found += blocks.items()
    return found
