"""The third stage: runs and store in, metrics, tables and figures out."""
