"""Phantoms, training and evaluation."""
