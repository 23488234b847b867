"""How each task is judged: one file a task, behind :class:`~.base.Judged`."""
