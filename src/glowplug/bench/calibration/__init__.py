"""Experiment `calibration`."""
