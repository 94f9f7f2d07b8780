"""Experiments: a package each, run by its `experiment.py`; every claim of the project is a command here."""
