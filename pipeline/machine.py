"""What the machine has: memory left, and what lies under a path."""

import os
from functools import lru_cache
from pathlib import Path

LOCAL_FILE_SYSTEMS = frozenset(
    {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs", "zfs"}
)
"""File systems that nobody but this machine changes."""


def available_memory() -> int:
    """Bytes a process may still take without swapping; all physical memory where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@lru_cache(maxsize=64)
def file_system(device: int) -> str | None:
    """The type of the file system with this device number (``st_dev``); None where the system does not say."""
    name = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = [line.split(" ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    except OSError:
        return None
    kinds = {line[line.index("-") + 1] for line in lines if line[2] == name}
    return kinds.pop() if len(kinds) == 1 else None
