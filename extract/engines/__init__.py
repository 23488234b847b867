"""Several workers make one store: on this machine, on SLURM, on Ray.

Every worker extracts one share of the plan (:mod:`..share`) by the same :func:`~..run.extract`, and knows nothing of
the others. What is done is what has a receipt, whatever an engine believes: a worker that dies or hangs is replaced
by one that takes the same share and finds its finished parts, and two engines on one store at once do no harm.

    run.py        plan, share out, watch, and hand back what one process would
    supervise.py  the watch over workers: deaths, hangs, signals, the bound on trying again
    job.py        what a worker is told, how it shows that it lives, what it answers
    local.py  slurm.py  ray_actors.py   where workers run: a context manager that yields a :data:`~.supervise.Start`
"""
