"""Geometry, resampling and connected components on numpy arrays."""
