"""Experiment `gateway`."""
