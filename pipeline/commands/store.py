"""``vtt store``: look into a feature store."""

from typing import Annotated

import typer

from . import store_share
from .options import JsonFlag, answer, store_place

app = typer.Typer(help="Look into a feature store.", no_args_is_help=True)


store_share.register(app)


@app.callback()
def _group() -> None:
    """Look into a feature store."""


@app.command("ls")
def list_features(
    store: Annotated[str, typer.Argument(help="The feature store: a folder or a URL.")],
    as_json: JsonFlag = False,
) -> None:
    """List a store's features: rows there and planned, bytes, and what made them."""
    from ..store import FeatureStore
    from ..store.listing import summarise

    summary = summarise(FeatureStore.open(store_place(store)))
    answer(summary.to_json(), summary.render(), as_json)
