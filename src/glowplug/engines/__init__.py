"""Adapters for control/engine.py: who turns a command into an event."""
