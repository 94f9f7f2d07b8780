"""What every `loader.sources` WeightSource must do. Subclass it and give `source`, which serves `CONTENT`:

    class TestMine(SourceSuite):
        @pytest.fixture
        def source(self):
            return MySource(CONTENT)

The suite closes the source itself where a test needs that.
"""

from __future__ import annotations

import random
import threading

import pytest

from glowplug.loader.errors import PackTruncated, RangeRefused
from glowplug.loader.sources.base import WeightSource

CONTENT = random.Random(7).randbytes(300_001)
"""Ends neither at a page nor at any buffer's size."""

_RANGES = [
    (0, 1),
    (0, 4096),
    (1, 4095),
    (4095, 2),
    (4096, 8192),
    (8191, 65537),
    (131072, 131072),
    (300_000, 1),
    (290_000, 10_001),
]


class SourceSuite:
    def test_the_size_is_that_of_the_content(self, source: WeightSource) -> None:
        assert source.size == len(CONTENT)

    def test_it_has_a_name_and_advice(self, source: WeightSource) -> None:
        assert source.name
        assert source.advice.parallel >= 1
        assert source.advice.read_bytes >= 1

    def test_the_whole_content_in_one_read(self, source: WeightSource) -> None:
        assert read(source, 0, len(CONTENT)) == CONTENT

    @pytest.mark.parametrize(("offset", "length"), _RANGES)
    def test_ranges(self, source: WeightSource, offset: int, length: int) -> None:
        assert read(source, offset, length) == CONTENT[offset : offset + length]

    def test_ranges_in_any_order_and_again(self, source: WeightSource) -> None:
        drawn = random.Random(8)
        for _ in range(20):
            offset = drawn.randrange(len(CONTENT))
            length = drawn.randrange(min(70_000, len(CONTENT) - offset) + 1)
            assert read(source, offset, length) == CONTENT[offset : offset + length]

    @pytest.mark.parametrize("offset", [0, 1000, len(CONTENT)])
    def test_reading_nothing_changes_nothing(self, source: WeightSource, offset: int) -> None:
        buffer = bytearray(b"before")
        source.read_into(buffer, offset, 0)
        source.read_into(bytearray(), offset, 0)
        assert buffer == b"before"

    @pytest.mark.parametrize("view", [False, True])
    def test_what_lies_behind_the_range_in_the_buffer_stays(self, source: WeightSource, view: bool) -> None:
        buffer = bytearray(b"\xa5" * 10_000)
        source.read_into(memoryview(buffer) if view else buffer, 5000, 5001)
        assert buffer[:5001] == CONTENT[5000:10_001]
        assert buffer[5001:] == b"\xa5" * 4999

    def test_it_reads_into_part_of_a_buffer(self, source: WeightSource) -> None:
        buffer = bytearray(b"\xa5" * 9000)
        source.read_into(memoryview(buffer)[13:8013], 4096, 8000)
        assert buffer[13:8013] == CONTENT[4096:12_096]
        assert buffer[:13] + buffer[8013:] == b"\xa5" * 1000

    def test_it_reads_into_memory_of_wider_elements(self, source: WeightSource) -> None:
        buffer = bytearray(8000)
        source.read_into(memoryview(buffer).cast("Q"), 8, 8000)
        assert buffer == CONTENT[8:8008]

    @pytest.mark.parametrize(
        ("offset", "length"),
        [(len(CONTENT), 1), (len(CONTENT) - 1, 2), (0, len(CONTENT) + 1), (2**40, 10)],
    )
    def test_past_the_end_is_an_error(self, source: WeightSource, offset: int, length: int) -> None:
        with pytest.raises((PackTruncated, RangeRefused), match=str(len(CONTENT))):
            source.read_into(bytearray(length), offset, length)
        assert read(source, 0, 10) == CONTENT[:10]

    @pytest.mark.parametrize(("offset", "length", "room"), [(-1, 1, 1), (0, -1, 1), (0, 11, 10)])
    def test_impossible_requests_are_refused(
        self, source: WeightSource, offset: int, length: int, room: int
    ) -> None:
        with pytest.raises(ValueError, match=r"-1|do not fit"):
            source.read_into(bytearray(room), offset, length)

    def test_a_buffer_that_cannot_be_written_is_refused(self, source: WeightSource) -> None:
        with pytest.raises(TypeError, match="read-only"):
            source.read_into(memoryview(bytes(10)), 0, 10)

    def test_threads_may_read_at_once(self, source: WeightSource) -> None:
        together = threading.Barrier(8)
        wrong: list[object] = []

        def work(number: int) -> None:
            drawn = random.Random(number)
            together.wait()
            try:
                for _ in range(5):
                    offset = drawn.randrange(len(CONTENT) - 20_000)
                    length = drawn.randrange(1, 20_000)
                    if read(source, offset, length) != CONTENT[offset : offset + length]:
                        wrong.append((offset, length))
            except Exception as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []

    def test_closing_twice_is_closing_once(self, source: WeightSource) -> None:
        read(source, 0, 100)
        source.close()
        source.close()


def read(source: WeightSource, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    source.read_into(buffer, offset, length)
    return bytes(buffer)
