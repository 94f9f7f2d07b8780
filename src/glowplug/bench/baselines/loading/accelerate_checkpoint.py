"""accelerate: parameters on the meta device, then a checkpoint put on the only device there is."""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import sys

from accelerate import init_empty_weights, load_checkpoint_in_model
from torch import nn

from .construct import skip_initialisers, tie, tied_names
from .loop import Build, Mark, architecture, serve


def main() -> None:
    # Under `init_empty_weights` every parameter is a new one: whoever ties some has to do it again.
    ties = tied_names(architecture(sys.argv[1])[0]())

    def load(build: Build, weights: str, mark: Mark) -> nn.Module:
        with init_empty_weights():
            module = build()
        mark("build")
        # With a device for the whole, the file is mapped and its tensors are taken as they are.
        load_checkpoint_in_model(module, weights, device_map={"": "cpu"})
        tie(module, ties)
        module.eval()
        mark("load")
        return module

    serve(load)


if __name__ == "__main__":
    skip_initialisers()
    main()
