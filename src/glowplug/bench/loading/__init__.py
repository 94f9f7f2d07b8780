"""Experiment `loading`."""
