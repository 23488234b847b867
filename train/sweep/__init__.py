"""Sweeps: many heads from one pass over the features."""
