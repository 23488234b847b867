"""A process that may not take much memory, and must not wait for anything."""

import resource
import signal
from contextlib import contextmanager

GIGABYTE = 1 << 30


def limit_memory(more=2 * GIGABYTE):
    """Allow so many more bytes of address space than are taken now."""
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + more, resource.RLIM_INFINITY))


def peak_memory():
    """The most bytes that this process ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def deadline(seconds):
    """The process dies of SIGALRM if the work takes longer: a pipe that is waited for, for instance."""
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
