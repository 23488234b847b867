"""Tasks: which features a head reads, what it learns from them and how it is judged."""
