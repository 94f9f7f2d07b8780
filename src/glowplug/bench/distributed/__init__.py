"""Experiment `distributed`."""
