"""The table of Tyche (IEEE TPDS 37(2), 2026), 4 nodes: end to end, warming and loading, pre-load rate."""

from __future__ import annotations

import msgspec

CLASSES = ("predictable", "normal", "bursty")


class Published(msgspec.Struct, frozen=True):
    """Seconds by class of regularity, in the order of CLASSES; `loading_s` and `preload_rate` where they are
    given."""

    name: str
    prewarm: str
    eviction: str
    preload: str
    end_to_end_s: tuple[float, float, float]
    loading_s: tuple[float, float, float] | None = None
    preload_rate: tuple[float, float, float] | None = None


PUBLISHED = (
    Published("openwhisk", "fixed", "lru", "none", (3.124, 3.496, 3.459), (2.879, 3.247, 3.216)),
    Published("histogram", "histogram", "lru", "none", (2.703, 2.729, 2.861), (2.452, 2.480, 2.614)),
    Published("faascache", "kept", "greedy-dual", "none", (2.526, 2.751, 2.723), (2.289, 2.508, 2.476)),
    Published("pagurus", "pagurus", "lru", "none", (2.493, 2.917, 2.624), (2.203, 2.663, 2.377)),
    Published(
        "instainfer + faascache", "kept", "greedy-dual", "instainfer",
        (0.821, 0.968, 1.043), (0.576, 0.725, 0.811), (0.61, 0.46, 0.42),
    ),
    Published("instainfer + pagurus", "pagurus", "lru", "instainfer", (0.452, 0.564, 0.623)),
    Published(
        "tyche + faascache", "kept", "greedy-dual", "tyche",
        (0.734, 0.861, 0.917), (0.506, 0.616, 0.722), (0.62, 0.48, 0.43),
    ),
    Published(
        "tyche + histogram", "histogram", "lru", "tyche",
        (0.467, 0.624, 0.768), (0.302, 0.429, 0.558), (0.80, 0.67, 0.53),
    ),
    Published(
        "tyche + pagurus", "pagurus", "lru", "tyche",
        (0.392, 0.589, 0.542), (0.186, 0.266, 0.326), (0.84, 0.81, 0.72),
    ),
)  # fmt: skip
