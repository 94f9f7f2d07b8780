"""What is packed for Lambda, and its limits."""

from __future__ import annotations

import io
import zipfile

import pytest

from glowplug.core.errors import InvalidArguments
from glowplug.distributed.aws_lambda import limits
from glowplug.distributed.aws_lambda.package import build
from glowplug.distributed.errors import PackageTooLarge


def test_equal_content_makes_equal_bytes() -> None:
    first, second = build(with_packages=False), build(with_packages=False)
    assert first.content == second.content
    assert first.digest == second.digest
    assert first.sizes.keys() == {"glowplug"}


def test_the_worker_is_in_it_and_the_server_is_not() -> None:
    with zipfile.ZipFile(io.BytesIO(build(with_packages=False).content)) as archive:
        names = set(archive.namelist())
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert {"glowplug/__init__.py", "glowplug/distributed/aws_lambda/handler.py"} <= names
    assert "glowplug/distributed/tables/prices.json" in names
    assert not [
        name for name in names if name.startswith(("glowplug/bench", "glowplug/cli", "glowplug/node"))
    ]


def test_what_is_too_large_is_named() -> None:
    with pytest.raises(PackageTooLarge, match=r"llvmlite 200.*, numba 70.*and Lambda takes 262144000"):
        limits.check_unzipped({"numba": 70 * 10**6, "llvmlite": 200 * 10**6})
    with pytest.raises(PackageTooLarge, match="give an s3:// store"):
        limits.check_zipped(limits.ZIP_BYTES + 1)
    with pytest.raises(InvalidArguments, match="a start message of 262145 bytes"):
        limits.check_event(b" " * (limits.EVENT_BYTES + 1))
    with pytest.raises(InvalidArguments, match="use more workers"):
        limits.files_mib(11 * 2**30)
    assert limits.files_mib(1) == 512
    assert limits.memory_mib(2 * 10**9) == 1907
