"""LitServe. Arrays come as a raw body, which its own request type, of forms and JSON, has no room for."""

# LitServe reads the annotations as they stand: no `from __future__ import annotations`.
from collections.abc import Callable
from typing import Annotated, Any

import litserve
from fastapi import Body

from . import work


class Echo(litserve.LitAPI):
    answer: Callable[[Any], Any]

    def setup(self, device: str) -> None:
        self.answer = work.echo

    def predict(self, x: Any) -> Any:
        return self.answer(x)


class Embed(Echo):
    def setup(self, device: str) -> None:
        model = work.model("minilm")
        self.answer = lambda x: model(x["text"])


class Tensor(Echo):
    def setup(self, device: str) -> None:
        self.answer = lambda x: work.summary(work.tensor_of(x))

    def decode_request(self, request: Annotated[bytes, Body()]) -> bytes:
        return request


def main() -> None:
    workload, port, _ = work.arguments()
    api = {"echo": Echo, "minilm": Embed, "tensor": Tensor}[workload]
    server = litserve.LitServer(api(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=port, num_api_servers=1, log_level="warning", generate_client_file=False,
        access_log=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
