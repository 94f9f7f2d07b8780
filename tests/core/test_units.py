"""Sizes as people write them have an end."""

from __future__ import annotations

import msgspec
import pytest

from glowplug.core.errors import InvalidDeclaration
from glowplug.core.specs import Declaration
from glowplug.core.units import MOST_BYTES, parse_bytes


@pytest.mark.parametrize("size", [MOST_BYTES, f"{MOST_BYTES}", "1.5GiB", 0])
def test_sizes_are_read(size: str | int) -> None:
    assert 0 <= parse_bytes(size) <= MOST_BYTES


@pytest.mark.parametrize("size", [MOST_BYTES + 1, 10**30, "20000000TB", "9" * 400])
def test_more_than_any_machine_has_is_refused(size: str | int) -> None:
    with pytest.raises(InvalidDeclaration, match=r"^memory: .* is more than any machine has$"):
        parse_bytes(size, "memory")


@pytest.mark.parametrize(
    "field", ["memory_bytes", "device_memory_bytes", "max_queue", "min_workers", "max_workers"]
)
@pytest.mark.parametrize("value", [-1, 2**64])
def test_a_declaration_that_comes_in_has_no_number_that_cannot_be_kept(field: str, value: int) -> None:
    """JSON has room for any; the journal and the gateways have not."""
    told = {"name": "f", "kind": "function", "module": "m", "qualname": "f"}
    text = msgspec.json.encode(told | {field: 0}).replace(b":0", b":%d" % value)
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.json.decode(text, type=Declaration)
