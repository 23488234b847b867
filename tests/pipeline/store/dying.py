"""A death in the middle of a commit, without a process that dies."""

from contextlib import contextmanager
from dataclasses import fields

from visual_thought.pipeline.store.system import SYSTEM


class Crash(BaseException):
    """The process is dead: nothing it still tries to do happens."""


@contextmanager
def dying_at(k):
    """Let the k-th system call of commits be the last: it and all later ones raise :class:`Crash`; None is no death."""
    if k is None:
        yield
        return
    real, seen = {field.name: getattr(SYSTEM, field.name) for field in fields(SYSTEM)}, 0

    def spoilt(call):
        def either(*arguments):
            nonlocal seen
            seen += 1
            if seen >= k:
                raise Crash
            return call(*arguments)

        return either

    try:
        for name, call in real.items():
            object.__setattr__(SYSTEM, name, spoilt(call))
        yield
    finally:
        for name, call in real.items():
            object.__setattr__(SYSTEM, name, call)
