"""S3 on this machine: moto's server."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from typing import Any

import pytest


@contextlib.contextmanager
def bucket_served() -> Iterator[dict[str, Any]]:
    """The options with which `s3://bucket` is found. Skips the test where moto or obstore is missing."""
    pytest.importorskip("obstore", reason="needs the stores extra")
    moto = pytest.importorskip("moto.server", reason="needs moto: pip install 'moto[s3]' flask flask-cors")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        connection = http.client.HTTPConnection(host, port)
        connection.request("PUT", "/bucket", headers={"Authorization": "AWS key:signature"})
        assert connection.getresponse().status == 200
        connection.close()
        yield {
            "endpoint": f"http://{host}:{port}",
            "region": "us-east-1",
            "access_key_id": "key",
            "secret_access_key": "secret",
            "client_options": {"allow_http": True},
        }
    finally:
        server.stop()
