"""What functions printed is kept, searched and followed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from glowplug.core.errors import Overloaded
from glowplug.core.status import LogLine, LogQuery
from glowplug.gateway.queries import moment
from glowplug.server.logs import LogBook


def read(book: LogBook, function: str | None = "f", **wishes: Any) -> list[str]:
    async def everything() -> list[str]:
        return [line.text async for line in book.read(function, **wishes)]

    return asyncio.run(everything())


def book_of_two() -> LogBook:
    book = LogBook(kept=4)
    book.add("f", 1, "stdout", ["one (of a+)+$", "two"])
    book.add("f", 2, "stderr", ["three", "four"])
    book.add("g", 3, "stdout", ["other"])
    return book


def test_lines_are_searched() -> None:
    book = book_of_two()
    assert read(book) == ["one (of a+)+$", "two", "three", "four"]
    assert read(book, None)[-1] == "other"
    assert read(book, query=LogQuery(instance=2)) == ["three", "four"]
    assert read(book, query=LogQuery(stream="stdout")) == ["one (of a+)+$", "two"]
    assert read(book, query=LogQuery(grep="o")) == ["one (of a+)+$", "two", "four"]
    assert read(book, query=LogQuery(grep="(of a+)+$")) == ["one (of a+)+$"], "a text, not a pattern"
    assert read(book, query=LogQuery(since_s=4e9)) == []
    assert read(book, tail=1, query=LogQuery(grep="o")) == ["four"]
    assert read(book, tail=0) == []
    assert read(book, tail=9, query=LogQuery(stream="stderr")) == ["three", "four"]


def test_what_a_function_says_that_is_gone_is_not_kept() -> None:
    book = book_of_two()
    book.forget("f")
    book.add("f", 1, "stdout", ["from a worker that still ends"], kept=False)
    assert read(book) == []


def test_only_the_last_lines_are_kept() -> None:
    book = book_of_two()
    book.add("f", 1, "stdout", ["five"])
    assert read(book) == ["two", "three", "four", "five"]
    book.forget("f")
    assert read(book) == []


def test_a_follower_gets_what_it_asked_for_until_the_end() -> None:
    async def scenario() -> None:
        book = book_of_two()
        lines = book.read("f", follow=True, query=LogQuery(stream="stderr", grep="r"))
        assert [(await anext(lines)).text, (await anext(lines)).text] == ["three", "four"]
        following = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0)
        book.add("f", 1, "stdout", ["rrr"])
        book.add("g", 1, "stderr", ["rrr"])
        for number in range(2000):
            book.add("f", 1, "stderr", ["noise", f"r{number}"])
        found = [await following]
        book.end_followers()
        found += [line async for line in lines]
        assert [line.text for line in found][-1] == "r1999"
        assert all(isinstance(line, LogLine) and line.text.startswith("r") for line in found)
        assert len(found) <= 1001, "bounded: it lost the oldest"

    asyncio.run(scenario())


def test_followers_are_bounded() -> None:
    async def scenario() -> None:
        book = book_of_two()
        followers = [book.read("f", follow=True) for _ in range(200)]
        for follower in followers:
            await anext(follower)
        with pytest.raises(Overloaded):
            book.read("f", follow=True)
        assert read_now(book) is not None
        await followers.pop().aclose()  # type: ignore[attr-defined]
        book.read("f", follow=True)

    def read_now(book: LogBook) -> object:
        return book.read("f")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("12.5", 12.5),
        ("1970-01-01T00:01:00Z", 60),
        ("10m", 400),
        ("2h", -6200),
        ("250ms", 999.75),
    ],
)
def test_a_moment_may_be_written_in_three_ways(text: str | None, expected: float | None) -> None:
    assert moment(text, 1000) == expected
