"""Experiment `preloading`."""
