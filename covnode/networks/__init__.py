"""Torch modules used by infer and by learn."""
