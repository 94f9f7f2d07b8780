"""Why a request went where it went, out of the journal: the hot path pays nothing for it."""
