"""MLServer. Its V2 protocol has no raw bodies over HTTP: an array comes as base64 in an element of BYTES."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from . import work


class Served(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        name, datatype, shape, data = self.answer({each.name: each.data.root for each in payload.inputs})
        output = ResponseOutput(name=name, datatype=datatype, shape=shape, data=data)
        return InferenceResponse(model_name=self.name, outputs=[output])

    def answer(self, inputs: dict[str, list[Any]]) -> tuple[str, str, list[int], list[Any]]:
        raise NotImplementedError


class Echo(Served):
    def answer(self, inputs: dict[str, list[Any]]) -> tuple[str, str, list[int], list[Any]]:
        said = work.echo(json.loads(inputs["message"][0]))
        return "message", "BYTES", [1], [json.dumps(said)]


class Embed(Served):
    async def load(self) -> bool:
        self.model = work.model("minilm")
        return True

    def answer(self, inputs: dict[str, list[Any]]) -> tuple[str, str, list[int], list[Any]]:
        embedding = self.model(inputs["text"][0])
        return "embedding", "FP32", [len(embedding)], embedding


class Tensor(Served):
    def answer(self, inputs: dict[str, list[Any]]) -> tuple[str, str, list[int], list[Any]]:
        said = work.summary(work.tensor_of(base64.b64decode(inputs["tensor"][0])))
        return "summary", "BYTES", [1], [json.dumps(said)]


def main() -> None:
    from mlserver.cli import main as mlserver

    workload, port, _ = work.arguments()
    kind = {"echo": "Echo", "minilm": "Embed", "tensor": "Tensor"}[workload]
    settings = {
        "host": "127.0.0.1", "http_port": port, "grpc_port": 0, "metrics_endpoint": None,
        "parallel_workers": 0, "debug": False, "gzip_enabled": False,
    }  # fmt: skip
    Path("settings.json").write_text(json.dumps(settings))
    model = {"name": "served", "implementation": f"serving.mlserver_app.{kind}"}
    Path("model-settings.json").write_text(json.dumps(model))
    sys.argv[1:] = ["start", "."]
    mlserver()


if __name__ == "__main__":
    main()
