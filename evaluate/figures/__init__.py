"""Figures, one file a figure. Drawing functions take plain arrays and need neither a store nor a run."""
