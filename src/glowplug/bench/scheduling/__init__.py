"""Experiment `scheduling`."""
