"""Experiment `coldstart`."""
