"""What is said of AWS, or of a server that speaks as it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from glowplug.core.errors import InvalidArguments

pytest.importorskip("boto3", reason="pip install 'glowplug[distributed]'")
pytest.importorskip("obstore", reason="pip install 'glowplug[stores]'")


def clients() -> dict[str, Callable[[str], Any]]:
    from glowplug.distributed.aws_lambda.names import lambda_client
    from glowplug.distributed.channels.aws import AwsService
    from glowplug.distributed.channels.stored_blobs import StoredBlobs

    return {
        "messages": lambda endpoint: AwsService(endpoint, "eu-central-1"),
        "lambda": lambda endpoint: lambda_client(endpoint, "eu-central-1"),
        "objects": lambda endpoint: StoredBlobs("s3://bucket/there", endpoint=endpoint).options(),
    }


@pytest.mark.parametrize("of", ["messages", "lambda", "objects"])
@pytest.mark.parametrize("endpoint", ["localhost:4566", "http://", "nope", "http://a:99999", "ftp://a"])
def test_an_endpoint_that_is_no_address_is_refused(of: str, endpoint: str) -> None:
    with pytest.raises(InvalidArguments, match="is no address such as http://localhost:4566"):
        clients()[of](endpoint)


@pytest.mark.parametrize("of", ["messages", "lambda"])
@pytest.mark.parametrize("endpoint", ["http://my_host:9000", "http://-a:1", "http://a..b", 4566])
def test_what_boto_takes_for_none_is_refused(of: str, endpoint: Any) -> None:
    with pytest.raises(InvalidArguments, match=r"nvalid endpoint|is no address"):
        clients()[of](endpoint)


@pytest.mark.parametrize("of", ["messages", "lambda", "objects"])
def test_nothing_is_asked_before_it_is_used(of: str) -> None:
    clients()[of]("http://[::1]:4566")
