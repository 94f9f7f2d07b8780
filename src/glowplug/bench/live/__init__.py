"""A real server under the calls of a trace, and such a run again in virtual time."""
