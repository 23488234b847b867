"""``vtt store``: look into a feature store."""

from pathlib import Path
from typing import Annotated

import typer

from . import store_tiers
from .options import JsonFlag, answer

app = typer.Typer(help="Look into a feature store.", no_args_is_help=True)
store_tiers.register(app)


@app.callback()
def _group() -> None:
    """Look into a feature store."""


@app.command("ls")
def list_features(
    store: Annotated[Path, typer.Argument(help="The feature store.")],
    as_json: JsonFlag = False,
) -> None:
    """List a store's features: rows there and planned, bytes, and what made them."""
    from ..store import FeatureStore
    from ..store.listing import summarise

    summary = summarise(FeatureStore.open(store))
    answer(summary.to_json(), summary.render(), as_json)
