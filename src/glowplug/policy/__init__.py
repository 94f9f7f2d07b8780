"""Pure decisions: one folder per kind, one file per policy, one registry."""
