"""Protocols only: HTTP to events, bodies to workers. Decides nothing that the controller decides."""
