"""Ray Serve, as it comes or tuned (SERVING_TUNED=1), kept running or from zero (SERVING_FROM_ZERO=1).

From zero, each time that no replica is left the file `zero` appears in the working directory; whoever has
made its request removes it, and the wait for zero begins anew. Nothing looks at the cluster in between.

Tuned: no limit of five requests at a replica, no thread hops; from zero besides modules imported in workers
that wait, and every interval on the way at a tenth of a second or less.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from . import work

TUNED = os.environ.get("SERVING_TUNED") == "1"
FROM_ZERO = os.environ.get("SERVING_FROM_ZERO") == "1"
MODULES = {"echo": (), "tensor": ("numpy",), "minilm": ("torch", "tokenizers", "safetensors.torch"),
           "resnet50": ("torch", "numpy", "safetensors.torch", "plain.resnet50")}  # fmt: skip
MEMORY_BYTES = 200 * 10**6
POLL_S = 0.25
SPARE = 3
"""Workers that wait: Ray does not give every one to a replica."""
ZERO = Path("zero")


def tune(workload: str) -> None:
    """Ray reads these when it is imported."""
    if FROM_ZERO:
        # Throughput's setting lets a replica that is not needed any more drain for half a minute.
        os.environ |= {
            "RAY_preload_python_modules": ",".join(("ray.serve._private.replica", *MODULES[workload])),
            "RAY_num_workers_soft_limit": "8",
            "RAY_idle_worker_killing_time_threshold_ms": "100000000",
            "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.02",
            "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.1",
            "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.1",
        }
    else:
        os.environ["RAY_SERVE_THROUGHPUT_OPTIMIZED"] = "1"


def pause() -> None:
    """A task that keeps its worker long enough for the next one to need another."""
    time.sleep(POLL_S)


def main() -> None:
    workload, port, threads = work.arguments()
    if TUNED:
        tune(workload)
    import ray
    from ray import serve
    from starlette.requests import Request

    class Served:
        """Every workload by the raw request: the shortest way that Ray Serve has."""

        def __init__(self) -> None:
            work.limit_threads(threads)
            if workload in ("minilm", "resnet50"):
                self.model = work.model(workload)

        async def __call__(self, request: Request) -> Any:
            if workload == "echo":
                return work.echo(await request.json())
            if workload == "minilm":
                return self.model((await request.json())["text"])
            if workload == "resnet50":
                return self.model(work.image_of(await request.body()))
            return work.summary(work.tensor_of(await request.body()))

    options: dict[str, Any] = {"max_ongoing_requests": 128} if TUNED else {}
    if FROM_ZERO:
        options["autoscaling_config"] = autoscaling()
    else:
        options["num_replicas"] = 1
    ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=MEMORY_BYTES, log_to_driver=False,
        _temp_dir=str(Path.cwd()),
    )  # fmt: skip
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(serve.deployment(**options)(Served).bind(), name="served")
    while True:
        time.sleep(POLL_S)
        if FROM_ZERO and not ZERO.exists():
            deployment = serve.status().applications["served"].deployments["Served"]
            if not sum(deployment.replica_states.values()):
                if TUNED:
                    # Leaves workers that have imported the modules and wait for whatever comes next.
                    task = ray.remote(num_cpus=0)(pause)
                    ray.get([task.remote() for _ in range(SPARE)])
                ZERO.touch()


def autoscaling() -> dict[str, Any]:
    """How soon replicas go has no part in how soon they come: both go soon, so that a run ends today."""
    config = {"min_replicas": 0, "max_replicas": 1, "downscale_delay_s": 0.5}
    if TUNED:
        config |= {"upscale_delay_s": 0.0, "metrics_interval_s": 0.1, "look_back_period_s": 0.3}
    return config


if __name__ == "__main__":
    main()
