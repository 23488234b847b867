"""CeDiRNet-3DoF: dense direction maps and the points they vote for."""

from .model import CeDiRNet, load

__all__ = ["CeDiRNet", "load"]
