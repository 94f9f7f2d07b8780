"""Model architectures in plain torch: every class is at module level, so that it pickles."""
