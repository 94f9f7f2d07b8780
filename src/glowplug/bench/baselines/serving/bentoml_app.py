"""BentoML: an HTTP server's process that runs the service as well."""

# BentoML makes its schemas of the annotations: no `from __future__ import annotations`.
import os
import sys
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType

from . import work


@bentoml.service(name="echo", workers=1)
class Echo:
    @bentoml.api(route="/")
    async def answer(self, text: str, number: int) -> dict[str, Any]:
        return work.echo({"text": text, "number": number})


@bentoml.service(name="minilm", workers=1)
class Embed:
    def __init__(self) -> None:
        self.model = work.model("minilm")

    @bentoml.api(route="/")
    async def answer(self, text: str) -> list[float]:
        return self.model(text)


@bentoml.service(name="tensor", workers=1)
class Tensor:
    @bentoml.api(route="/")
    async def answer(
        self, body: Annotated[bytes, ContentType("application/octet-stream")], /
    ) -> dict[str, Any]:
        return work.summary(work.tensor_of(body))


def main() -> None:
    workload, port, _ = work.arguments()
    service = {"echo": "Echo", "minilm": "Embed", "tensor": "Tensor"}[workload]
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    command = ["-m", "bentoml", "serve", f"serving.bentoml_app:{service}"]
    os.execv(sys.executable, [sys.executable, *command, "--host", "127.0.0.1", "--port", str(port), "-q"])


if __name__ == "__main__":
    main()
