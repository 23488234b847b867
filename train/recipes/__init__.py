"""Recipes: one YAML file a training setting."""
