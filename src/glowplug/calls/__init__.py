"""Spawned calls: stored before they are acknowledged, run until they end, their results kept for a while.

`states` and `backlog` decide and are pure; `store` writes, `runner` and `callbacks` act, and `desk` is what
the gateway sees.
"""
