"""Model architectures in plain torch: importable beside any torch, and picklable (every class is at module level)."""
