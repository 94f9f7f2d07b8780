"""One call for all sources, by path or URL."""

from __future__ import annotations

import importlib
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from glowplug.loader import Retry
from glowplug.loader.sources import SOURCES, FileSource, open_source
from glowplug.testing.source_suite import CONTENT, read


def test_every_entry_leads_to_an_opener() -> None:
    for place in SOURCES.values():
        module, _, attribute = place.partition(":")
        assert callable(getattr(importlib.import_module(module), attribute))


@pytest.mark.parametrize("form", ["{0}", "file://{0}", "file://localhost{0}", "FILE://{0}"])
def test_paths_and_file_urls(file: Path, form: str) -> None:
    with closing(open_source(form.format(file))) as source:
        assert isinstance(source, FileSource)
        assert source.name == str(file)
        assert read(source, 0, len(CONTENT)) == CONTENT


def test_a_file_url_may_be_quoted(tmp_path: Path) -> None:
    (tmp_path / "my net#1.pack").write_bytes(b"abc")
    with closing(open_source((tmp_path / "my net#1.pack").as_uri())) as source:
        assert read(source, 0, 3) == b"abc"


def test_a_path_may_look_like_no_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a:b%20c").write_bytes(b"abc")
    with closing(open_source("a:b%20c")) as source:
        assert read(source, 0, 3) == b"abc"


def test_unknown_schemes_name_the_known_ones() -> None:
    with pytest.raises(ValueError, match="ftp:// is no source; there are file, http, https, s3, gs, az"):
        open_source("ftp://host/net.pack")


def test_a_missing_file_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        open_source(tmp_path / "absent")


def test_opening_files_needs_no_library() -> None:
    program = """
import sys
from glowplug.loader.sources import open_source
open_source(sys.argv[1]).close()
sys.exit(bool({"numpy", "obstore", "torch", "http.client", "ssl"} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", program, __file__]).returncode == 0


@pytest.mark.parametrize("place", ["w.pack", "https://127.0.0.1:9/w.pack"])
def test_an_unknown_option_is_named(place: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"timeout= is no option for .*w\.pack: there are"):
        open_source(place if "//" in place else tmp_path / place, timeout=3)


def test_a_message_about_an_option_shows_neither_credentials_nor_signatures() -> None:
    with pytest.raises(ValueError, match="bogus= is no option") as caught:
        open_source("HTTPS://user:secret@host:9/w.pack?sig=abc", bogus=1)
    assert str(caught.value) == (
        "bogus= is no option for https://host:9/w.pack?...: there are retry, headers, silence_s, context"
    )


def test_who_opens_files_and_addresses_may_say_how_to_retry(tmp_path: Path) -> None:
    (tmp_path / "w.pack").write_bytes(b"weights")
    source = open_source(tmp_path / "w.pack", retry=Retry(attempts=2))
    assert source.size == 7
    source.close()
