"""Measurements of the feature store on this machine, as ratios inside one interleaved run."""
