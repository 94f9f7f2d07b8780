"""Spreads of one model over many workers, run in virtual time: every call is one, and counted."""
