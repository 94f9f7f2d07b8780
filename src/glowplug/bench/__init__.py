"""Experiments: one file each; every claim of the project is a command here."""
