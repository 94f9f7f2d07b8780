"""`glowplug distributed run --on lambda`: from words to a platform of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from glowplug.cli.output import errors
from glowplug.core.errors import InvalidArguments

if TYPE_CHECKING:
    from glowplug.distributed.deploying import Deployed
    from glowplug.distributed.platform import Platform
    from glowplug.distributed.run_options import RunOptions


class Cloudy(NamedTuple):
    """As it was given."""

    store: str
    role: str
    endpoint: str
    region: str
    layers: tuple[str, ...]

    def check(self) -> None:
        """Raises InvalidArguments."""
        for name, value in (("store", self.store), ("role", self.role)):
            if not value:
                raise InvalidArguments(f"--on lambda needs --{name}", name)


def on_lambda(given: Cloudy, options: RunOptions) -> Callable[[Deployed], Platform]:
    """Raises InvalidArguments, PlatformError, ChannelError, PackageTooLarge; what it returns too."""
    from glowplug.distributed.aws_lambda import limits
    from glowplug.distributed.aws_lambda.function import Shape, ensure
    from glowplug.distributed.aws_lambda.names import lambda_client
    from glowplug.distributed.aws_lambda.package import build
    from glowplug.distributed.aws_lambda.platform import Cloud, LambdaPlatform
    from glowplug.distributed.channels.stored_blobs import StoredBlobs
    from glowplug.distributed.deploying import read_bytes

    given.check()
    shape = Shape(
        role=given.role,
        memory_mib=limits.memory_mib(options.memory_bytes),
        timeout_s=limits.timeout_s(options.deadline_s),
        files_mib=limits.FILES_MIB[0],
        layers=given.layers,
    )
    client = lambda_client(given.endpoint or None, given.region or None)
    with errors.status("packing the function"):
        package = build(with_packages=not given.layers)

    def platform(deployed: Deployed) -> Platform:
        needed = max(read_bytes(deployed.orders, worker) for worker in range(deployed.orders.workers))
        fitting = msgspec.structs.replace(shape, files_mib=limits.files_mib(needed))
        blobs = StoredBlobs(given.store)
        try:
            function = ensure(client, package, fitting, blobs, given.store)
            cloud = Cloud(
                client=client, function=function, endpoint=given.endpoint or None,
                region=given.region or None, branching=options.branching,
            )  # fmt: skip
            return LambdaPlatform(cloud, deployed, blobs)
        except BaseException:
            blobs.close()
            raise

    return platform
