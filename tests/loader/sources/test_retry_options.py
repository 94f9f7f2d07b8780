"""What an error advises is what the loader takes, for every remote source."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from glowplug import loader
from glowplug.loader.sources import open_source
from glowplug.testing.source_suite import CONTENT, read
from tests.loader.sources import misdeeds
from tests.loader.sources.server import FileServer


def http(server: FileServer) -> tuple[str, dict[str, Any]]:
    return server.url, {}


def s3(server: FileServer) -> tuple[str, dict[str, Any]]:
    pytest.importorskip("obstore", reason="needs the stores extra")
    return "s3://models/net.pack", {
        "endpoint": f"http://127.0.0.1:{server.server_port}",
        "region": "us-east-1",
        "skip_signature": True,
        "client_options": {"allow_http": True},
    }


@pytest.mark.parametrize("kind", [http, s3])
def test_more_attempts_are_had_as_the_error_says(server: FileServer, kind: Any) -> None:
    place, options = kind(server)
    with closing(open_source(place, retry=loader.Retry(attempts=1), **options)) as source:
        server.misdeeds.append(misdeeds.status(500))
        with pytest.raises(loader.SourceUnavailable, match=r"by retry=loader\.Retry\(attempts=\.\.\.\)"):
            read(source, 0, 10)
    more = loader.Retry(attempts=3, pause_s=0.0)
    with closing(open_source(place, retry=more, **options)) as source:
        server.misdeeds.extend([misdeeds.status(500)] * 2)
        assert read(source, 0, 10) == CONTENT[:10]


@pytest.mark.parametrize("kind", [http, s3])
def test_a_deadline_is_had_as_the_error_says(server: FileServer, kind: Any) -> None:
    place, options = kind(server)
    patient = loader.Retry(deadline_s=30.0, pause_s=90.0, longest_pause_s=90.0)
    with closing(open_source(place, retry=patient, **options)) as source:
        server.misdeeds.append(misdeeds.status(500))
        with pytest.raises(
            loader.ReadDeadline, match=r"left of 30 s: .*by retry=loader\.Retry\(deadline_s=\.\.\.\)"
        ):
            read(source, 0, 10)
