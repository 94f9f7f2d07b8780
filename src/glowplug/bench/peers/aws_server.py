"""SNS, SQS and S3 as their clients see them: moto's server in this process, on a free port."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any
from unittest.mock import patch


@contextmanager
def aws_server() -> Iterator[str]:
    """Its URL. Any credentials do. One at a time in a process. Raises ImportError without moto."""
    from moto.server import ThreadedMotoServer
    from moto.sns.models import SNSBackend
    from moto.sqs.models import SQSBackend

    send, subscribe, one_at_a_time = SQSBackend.send_message, SNSBackend.subscribe, Lock()

    def send_binary(self: Any, *args: Any, **options: Any) -> Any:
        """moto 5.2.5 hands a binary attribute from SNS to SQS as the text that it came as."""
        for value in (options.get("message_attributes") or {}).values():
            if isinstance(value.get("BinaryValue"), str):
                value["BinaryValue"] = base64.b64decode(value["BinaryValue"])
        return send(self, *args, **options)

    def subscribe_alone(self: Any, *args: Any, **options: Any) -> Any:
        """moto 5.2.5 looks through a dictionary that another request adds to."""
        with one_at_a_time:
            return subscribe(self, *args, **options)

    with (
        patch.object(SQSBackend, "send_message", send_binary),
        patch.object(SNSBackend, "subscribe", subscribe_alone),
    ):
        # It would tell of each call.
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            yield f"http://{host}:{port}"
        finally:
            server.stop()
