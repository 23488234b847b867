"""Commands of ``vtt store`` for sharing."""

import typer


def register(app: typer.Typer) -> None:
    """Add the commands to ``vtt store``."""
