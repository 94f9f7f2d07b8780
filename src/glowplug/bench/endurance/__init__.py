"""Experiment `endurance`."""
