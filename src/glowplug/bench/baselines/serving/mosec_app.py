"""mosec: a server in Rust in front of Python processes."""

from __future__ import annotations

import sys
from typing import Any

from mosec import Server, Worker

from . import work


class Echo(Worker):
    def forward(self, data: Any) -> Any:
        return work.echo(data)


class Embed(Worker):
    def __init__(self) -> None:
        super().__init__()
        self.model = work.model("minilm")

    def forward(self, data: Any) -> Any:
        return self.model(data["text"])


class Tensor(Worker):
    def deserialize(self, data: bytes) -> Any:
        return work.tensor_of(data)

    def forward(self, data: Any) -> Any:
        return work.summary(data)


def main() -> None:
    workload, port, _ = work.arguments()
    # mosec reads the command line itself.
    sys.argv[1:] = [
        "--address",
        "127.0.0.1",
        "--port",
        str(port),
        "--timeout",
        "30000",
        "--log-level",
        "warning",
    ]
    server = Server()
    server.append_worker({"echo": Echo, "minilm": Embed, "tensor": Tensor}[workload], num=1)
    server.run()


if __name__ == "__main__":
    main()
