"""Commands of ``vtt store`` for storage tiers."""

import typer


def register(app: typer.Typer) -> None:
    """Add the commands to ``vtt store``."""
