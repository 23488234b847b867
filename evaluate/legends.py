"""Legends that need a report's own numbers."""

from collections.abc import Sequence

from .layouts import FINDINGS_LEGEND
from .report import RunReport


def findings_legend(runs: Sequence[RunReport]) -> str:
    """What the table of calibration, views and phases means, with the base rate that its errors are read against."""
    rates = {f"{found.calibration.base_rate:.1%}": run.run for run in runs if (found := run.head.findings)}
    told = ", ".join(rates if len(rates) == 1 else (f"{rate} ({run})" for rate, run in rates.items()))
    return FINDINGS_LEGEND.format(base_rate=told)
