"""What runs are called in tables, on pages and as folders of figures: told apart, and no longer than that takes."""

from collections.abc import Sequence
from pathlib import Path


def run_names(runs: Sequence[Path]) -> tuple[str, ...]:
    """One name a run: the folder's, or the shortest end of the path that no other run's path ends in.

    ``sweep/lr-1/seed-0`` and ``sweep/lr-2/seed-0`` are ``lr-1/seed-0`` and ``lr-2/seed-0``.

    Args:
        runs: folders, each once.
    """
    places = [run.resolve().parts for run in runs]
    return tuple(_apart(place, [other for other in places if other != place]) for place in places)


def figure_folders(names: Sequence[str]) -> tuple[str, ...]:
    """A folder's name for each run's name, all different; of one run none is needed, and it is empty."""
    if len(names) == 1:
        return ("",)
    flat = [name.strip("/").replace("/", "_") for name in names]
    return tuple(flat if len(set(flat)) == len(flat) else (f"{at}_{name}" for at, name in enumerate(flat)))


def _apart(place: tuple[str, ...], others: Sequence[tuple[str, ...]]) -> str:
    tails = (place[-length:] for length in range(1, len(place) + 1))
    return str(Path(*next((tail for tail in tails if all(other[-len(tail) :] != tail for other in others)), place)))
