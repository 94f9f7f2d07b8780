"""Experiment `card`."""
