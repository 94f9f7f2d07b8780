"""lalb-o3: lalb out of order. Whoever's model a free device has goes before its elders, a limited number of
times each.

Source: as lalb, whose default limit is 25.
"""

from __future__ import annotations

from glowplug.policy.scheduling.lalb import Lalb

LIMIT = 25


class LalbO3(Lalb):
    limit: int = LIMIT
