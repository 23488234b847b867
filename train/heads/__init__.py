"""Heads: what turns visual-thought tokens into a task's answer."""
