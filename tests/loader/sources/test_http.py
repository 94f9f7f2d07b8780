"""Ranges over HTTP: what is asked for, what is believed, and what is not."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest

from glowplug.loader.errors import (
    RangeRefused,
    ReadDeadline,
    SourceChanged,
    SourceError,
    SourceMissing,
    SourceRefused,
    SourceUnavailable,
)  # fmt: skip
from glowplug.loader.sources import open_source
from glowplug.loader.sources.http import HttpSource
from glowplug.loader.sources.urls import locate
from glowplug.testing.source_suite import CONTENT, read
from tests.loader.children import in_another_thread, in_child
from tests.loader.sources import misdeeds
from tests.loader.sources.conftest import descriptors
from tests.loader.sources.server import FileServer, Misdeed, serving


def moved(to: str, status: int = 302) -> Misdeed:
    return lambda request, start, end: request.status(status, Location=to)


def test_it_asks_for_plain_bytes_of_this_version(server: FileServer) -> None:
    with closing(HttpSource(server.url)) as source:
        read(source, 10, 5)
    assert [headers["Range"] for _, headers in server.seen] == ["bytes=0-0", "bytes=10-14"]
    assert {headers["Accept-Encoding"] for _, headers in server.seen} == {"identity"}
    assert "If-Match" not in server.seen[0][1]
    assert server.seen[1][1]["If-Match"] == '"one"'


def test_reads_use_one_connection_as_long_as_one_is_enough(server: FileServer) -> None:
    with closing(HttpSource(server.url)) as source:
        for offset in range(10):
            read(source, offset, 1000)
        assert server.accepted == 1


def test_a_forked_child_has_connections_of_its_own(server: FileServer) -> None:
    with closing(HttpSource(server.url)) as source:
        assert read(source, 0, 10) == CONTENT[:10]
        with in_another_thread(lambda: source._connections._lock):
            assert in_child(lambda: read(source, 10, 10) == CONTENT[10:20]) == "True"
        assert server.accepted == 2
        assert read(source, 20, 10) == CONTENT[20:30]
        assert server.accepted == 2, "the parent's is as it was"


def test_a_connection_that_the_server_ended_is_replaced(server: FileServer) -> None:
    with closing(HttpSource(server.url)) as source:
        for _ in range(3):
            server.hang_up()
            assert read(source, 0, 10) == CONTENT[:10]


def test_closing_ends_the_connections_and_keeps_no_later_ones(server: FileServer) -> None:
    source = HttpSource(server.url)
    threads = [threading.Thread(target=read, args=(source, 0, 1000)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    before = descriptors()
    source.close()
    assert sum((before - descriptors()).values()) >= 1
    accepted = server.accepted
    for _ in range(2):
        read(source, 0, 10)
    assert server.accepted == accepted + 2


def test_an_empty_file(server: FileServer) -> None:
    server.content = b""
    with closing(HttpSource(server.url)) as source:
        assert source.size == 0
        assert read(source, 0, 0) == b""


@pytest.mark.parametrize("name", ["ETag", "Last-Modified"])
@pytest.mark.parametrize("honours", [True, False])
def test_a_file_that_changes_is_noticed(server: FileServer, name: str, honours: bool) -> None:
    """Whether the server honours conditions, or says the new version's name in a 206."""
    if name == "Last-Modified":
        del server.headers["ETag"]
    with closing(HttpSource(server.url)) as source:
        server.headers[name] = '"two"' if name == "ETag" else "Tue, 24 Nov 2026 04:00:00 GMT"
        if not honours:
            server.misdeeds.append(lambda request, start, end: request.part(start, end))
        with pytest.raises(SourceChanged, match=r"10 bytes at 0.*open it again"):
            read(source, 0, 10)


def test_a_weak_etag_is_compared_and_never_a_condition(server: FileServer) -> None:
    server.headers["ETag"] = 'W/"one"'
    with closing(HttpSource(server.url)) as source:
        assert read(source, 0, 10) == CONTENT[:10]
        assert not {"If-Match", "If-Unmodified-Since"} & server.seen[-1][1].keys()
        server.headers["ETag"] = 'W/"two"'
        with pytest.raises(SourceChanged, match="replaced"):
            read(source, 0, 10)


def test_a_file_without_version_that_changes_its_size_is_noticed(server: FileServer) -> None:
    server.headers.clear()
    with closing(HttpSource(server.url)) as source:
        server.content += b"x"
        with pytest.raises(SourceChanged, match="replaced"):
            read(source, 0, 10)


def test_a_server_without_ranges_serves_whole_files_only(server: FileServer) -> None:
    server.misdeeds.extend([misdeeds.no_ranges] * 4)
    with closing(HttpSource(server.url)) as source:
        assert read(source, 0, len(CONTENT)) == CONTENT
        for offset, length in [(0, 10), (10, len(CONTENT) - 10)]:
            with pytest.raises(RangeRefused, match="cannot give parts"):
                read(source, offset, length)


def test_a_server_that_hides_the_size_is_refused(server: FileServer) -> None:
    hidden: list[Misdeed] = [
        lambda request, start, end: request.part(start, end, Content_Range="bytes 0-0/*"),
        lambda request, start, end: request.part(start, end, Content_Range=""),
        lambda request, start, end: request.answer(200, b"", {"Content-Length": "", "Connection": "close"}),
    ]
    for misdeed in hidden:
        server.misdeeds.append(misdeed)
        with pytest.raises(RangeRefused, match="does not tell its size"):
            HttpSource(server.url)
        server.hang_up()


def test_compression_that_nobody_asked_for_is_refused(server: FileServer) -> None:
    with closing(HttpSource(server.url)) as source:
        server.misdeeds.append(misdeeds.compressed)
        with pytest.raises(RangeRefused, match="gzip"):
            read(source, 0, 10)


def test_chunked_answers_are_read(server: FileServer) -> None:
    server.headers.clear()
    server.misdeeds.extend([misdeeds.chunked()] * 3)
    with closing(HttpSource(server.url)) as source:
        assert read(source, 0, len(CONTENT)) == CONTENT
        assert read(source, 5000, 12_345) == CONTENT[5000:17_345]
        assert read(source, 0, 10) == CONTENT[:10]


def test_redirects_are_followed_and_remembered(server: FileServer) -> None:
    with serving(CONTENT) as first:
        first.misdeeds.extend([moved("/there"), moved(server.url + "?signed=secret", 307)])
        with closing(HttpSource(first.url)) as source:
            assert read(source, 0, 10) == CONTENT[:10]
            assert read(source, 10, 10) == CONTENT[10:20]
        assert [path for path, _ in first.seen] == ["/models/net.pack", "/there"]
        assert len(server.seen) == 3


def test_a_redirect_that_has_expired_is_asked_for_again(server: FileServer) -> None:
    with serving(CONTENT) as first:
        first.misdeeds.extend([moved(server.url + "?until=1"), moved(server.url + "?until=2")])
        with closing(HttpSource(first.url)) as source:
            server.misdeeds.append(misdeeds.status(403))
            assert read(source, 0, 10) == CONTENT[:10]
        assert [path.rpartition("?")[2] for path, _ in server.seen] == ["until=1", "until=1", "until=2"]


@pytest.mark.parametrize("status", [400, 404, 410])
def test_where_it_is_not_any_more_the_first_is_asked_again(server: FileServer, status: int) -> None:
    with serving(CONTENT) as first:
        first.misdeeds.extend([moved(server.url + "?until=1"), moved(server.url + "?until=2")])
        with closing(HttpSource(first.url)) as source:
            server.misdeeds.append(misdeeds.status(status))
            assert read(source, 0, 10) == CONTENT[:10]


def test_a_server_that_fails_is_not_asked_again_without_the_first(server: FileServer) -> None:
    """Which may lead elsewhere by then."""
    with serving(CONTENT) as first, serving(CONTENT) as other:
        first.misdeeds.extend([moved(server.url), moved(other.url)])
        with closing(HttpSource(first.url)) as source:
            server.misdeeds.append(misdeeds.status(503))
            with pytest.raises(SourceUnavailable):
                read(source, 0, 10)
            assert read(source, 0, 10) == CONTENT[:10]
        assert other.seen


def test_nor_is_one_that_is_gone(server: FileServer) -> None:
    with serving(CONTENT) as first:
        with serving(CONTENT) as gone:
            first.misdeeds.extend([moved(gone.url), moved(server.url)])
            source = HttpSource(first.url)
        with closing(source):
            with pytest.raises(SourceError):
                read(source, 0, 10)
            assert read(source, 0, 10) == CONTENT[:10]
        assert server.seen


def test_a_refusal_after_a_fresh_redirect_is_one(server: FileServer) -> None:
    with serving(CONTENT) as first:
        first.misdeeds.extend([moved(server.url)] * 2)
        with closing(HttpSource(first.url)) as source:
            server.misdeeds.extend([misdeeds.status(403)] * 2)
            with pytest.raises(SourceRefused, match="403"):
                read(source, 0, 10)


def test_redirects_in_a_circle_end(server: FileServer) -> None:
    server.misdeeds.extend([moved("/again")] * 6)
    with pytest.raises(SourceRefused, match="more than 5 redirects"):
        HttpSource(server.url)
    assert len(server.seen) == 6


@pytest.mark.parametrize(
    "to",
    [
        "ftp://host/x",
        "file:///etc/passwd",
        "http://host:port/",
        "http://a..b/",
        f"http://{'a' * 70}.example/",
    ],
)
def test_redirects_lead_to_web_servers_only(server: FileServer, to: str) -> None:
    server.misdeeds.append(moved(to))
    with pytest.raises(SourceRefused, match="no HTTP address"):
        HttpSource(server.url)


@pytest.mark.parametrize("host", ["a..b", "a" * 70, "é" * 70])
def test_a_host_that_cannot_be_is_no_address(host: str) -> None:
    with pytest.raises(ValueError, match=r"is no name of a host$"):
        HttpSource(f"http://{host}/net.pack")


def test_a_size_that_no_file_has_is_none(server: FileServer) -> None:
    server.misdeeds.append(
        lambda request, start, end: request.status(206, **{"Content-Range": "bytes 0-0/" + 5000 * "9"})
    )
    with pytest.raises(RangeRefused, match="does not tell its size"):
        HttpSource(server.url)
    with closing(HttpSource(server.url)) as source:
        server.misdeeds.append(
            lambda request, start, end: request.status(206, **{"Content-Range": f"bytes {5000 * '9'}-9/9"})
        )
        with pytest.raises(SourceUnavailable, match=r"claims to be bytes 9{50,80}, of"):
            read(source, 0, 10)


def test_credentials_go_to_the_first_server_alone(server: FileServer) -> None:
    with serving(CONTENT) as first:
        first.misdeeds.append(moved(server.url))
        url = first.url.replace("http://", "http://me:pass%20word@")
        with closing(HttpSource(url, headers={"X-Key": "1"})) as source:
            assert "pass" not in source.name
        assert first.seen[0][1]["Authorization"] == "Basic bWU6cGFzcyB3b3Jk"
        assert first.seen[0][1]["X-Key"] == "1"
        assert not {"Authorization", "X-Key"} & server.seen[0][1].keys()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (400, SourceRefused),
        (401, SourceRefused),
        (403, SourceRefused),
        (404, SourceMissing),
        (410, SourceMissing),
        (412, SourceChanged),
        (416, RangeRefused),
        (429, SourceUnavailable),
        (500, SourceUnavailable),
        (503, SourceUnavailable),
    ],
)
def test_statuses_have_their_errors(server: FileServer, number: int, kind: type[SourceError]) -> None:
    with closing(HttpSource(server.url)) as source:
        server.misdeeds.append(misdeeds.status(number))
        with pytest.raises(
            kind, match=rf"net\.pack: the store answered {number} for 20 bytes at 10"
        ) as raised:
            read(source, 10, 20)
        assert type(raised.value) is kind
    server.misdeeds.append(misdeeds.status(number))
    with pytest.raises(kind):
        HttpSource(server.url)


def test_a_server_says_how_long_to_wait(server: FileServer) -> None:
    server.misdeeds.append(misdeeds.status(503, Retry_After="7"))
    with pytest.raises(SourceUnavailable) as raised:
        HttpSource(server.url)
    assert raised.value.retry_after_s == 7.0


class Steps:
    """A clock that moves by `step_s` whenever somebody looks."""

    def __init__(self) -> None:
        self.at_s, self.step_s = 0.0, 0.0

    def now_s(self) -> float:
        self.at_s += self.step_s
        return self.at_s

    def wait_until(self, at_s: float) -> None:
        self.at_s = max(self.at_s, at_s)


def test_a_read_that_takes_too_long_is_given_up(server: FileServer) -> None:
    clock = Steps()
    server.content = CONTENT * 20
    with closing(HttpSource(server.url, clock=clock)) as source:
        clock.step_s = 1.0
        with pytest.raises(ReadDeadline, match="came in time") as raised:
            source.read_within(bytearray(len(server.content)), 0, len(server.content), 6.0)
        assert 0 < raised.value.done_bytes < len(server.content)
        with pytest.raises(ReadDeadline, match="only 0 bytes"):
            source.read_within(bytearray(10), 0, 10, 0.0)
        assert read(source, 0, 10) == CONTENT[:10]


def test_a_read_to_which_nothing_comes_is_given_up(server: FileServer) -> None:
    with closing(HttpSource(server.url, silence_s=2.0)) as source:
        server.misdeeds.extend([misdeeds.stall_after(0.5), misdeeds.stall_after(0.0)])
        buffer = bytearray(1000)
        with pytest.raises(SourceUnavailable, match=r"nothing came for 2 s, after 500 bytes") as raised:
            source.read_into(buffer, 0, 1000)
        assert raised.value.done_bytes == 500
        assert buffer[:500] == CONTENT[:500]
        with pytest.raises(ReadDeadline):
            source.read_within(buffer, 0, 1000, 0.01)


@pytest.mark.parametrize(
    "url", ["http://", "https:///path", "http://host:port/", "http://host:99999/", "ftp://host/", "net.pack"]
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|[Pp]ort"):
        HttpSource(url)


def test_names_keep_secrets() -> None:
    location = locate("https://user:secret@[::1]:8443/a b/ü?sig=secret#part")
    assert location.name == "https://[::1]:8443/a%20b/%C3%BC?..."
    assert location.target == "/a%20b/%C3%BC?sig=secret"
    assert location.origin == (True, "::1", 8443)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command")
    path = tmp_path / "server.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run(
        [*command, "-keyout", path, "-out", tmp_path / "cert.pem"], check=True, capture_output=True
    )
    path.write_bytes(path.read_bytes() + (tmp_path / "cert.pem").read_bytes())
    return path


def test_https(certificate: Path) -> None:
    serverside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serverside.load_cert_chain(certificate)
    with serving(CONTENT, serverside) as server:
        url = server.url.replace("http:", "https:")
        context = ssl.create_default_context(cafile=certificate)
        with closing(open_source(url, context=context)) as source:
            assert read(source, 0, len(CONTENT)) == CONTENT
            assert server.accepted == 1
            server.misdeeds.append(moved(server.url))
            with pytest.raises(SourceRefused, match="plain HTTP"):
                read(source, 0, 10)
        with pytest.raises(SourceRefused, match=r"self-signed certificate.*`context`"):
            open_source(url)
