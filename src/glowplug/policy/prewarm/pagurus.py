"""pagurus: a function without a sandbox takes over another's idle one, which costs a load and no new sandbox.

Source: Pagurus (recalled, as Tyche, IEEE TPDS 37(2), 2026, compares with it). Sandboxes are kept for the
fixed time; which one is taken over is the one used the longest ago that is large enough, of the same
namespace. Where workers are forked from zygotes there is no sandbox to take over: then it is `fixed`.
"""

from __future__ import annotations

from glowplug.policy.prewarm.fixed import Fixed


class Pagurus(Fixed):
    takes_over: bool = True
