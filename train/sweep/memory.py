"""Freed memory that stays with the process."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Parameters of glibc's ``mallopt``."""
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let glibc hand out again what was freed, rather than return it to the kernel; whether that could be set.

    The arrays of many heads are so large that every step would have them mapped, and each page cleared, anew: on a CPU
    that takes about as long as the arithmetic on them. The process keeps its peak until it ends.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, NEVER))
