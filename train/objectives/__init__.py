"""Objectives: one equation, one function."""
