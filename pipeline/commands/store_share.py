"""``vtt store push`` and ``vtt store pull``: whole parts of a store to a remote place, and back."""

from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigError
from ..place import StoreUrl
from .options import JsonFlag, answer, say, store_place

if TYPE_CHECKING:
    from ..store.selection import Selection

Features = Annotated[str, typer.Option(help="Features to copy, comma-separated names or keys; default: all.")]
Cameras = Annotated[str, typer.Option(help="Cameras to copy, comma-separated; default: all.")]
Episodes = Annotated[str, typer.Option(help="Episodes to copy, such as 0-9,12; default: all.")]


def register(app: typer.Typer) -> None:
    """Add both commands to ``vtt store``."""
    app.command("push")(push)
    app.command("pull")(pull)


def push(
    store: Annotated[str, typer.Argument(help="The feature store.")],
    url: Annotated[str, typer.Argument(help="hf://datasets/user/name, s3://bucket/prefix, gs://… or file:///folder.")],
    features: Features = "",
    cameras: Cameras = "",
    episodes: Episodes = "",
    manifest: Annotated[str | None, typer.Option(help="The data manifest, for the card: licence, simulated.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be copied; needs no network.")] = False,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Copy parts of a store to a remote place; what is there already stays. Whole parts move, and receipts go last."""
    from ..manifest import load_manifest
    from ..store.share import push as run_push

    place, target = store_place(store), store_place(url)
    if not isinstance(target, StoreUrl):
        raise ConfigError("push goes to a URL", found=url, expected="hf://…, s3://…, gs://… or file:///…")
    done = run_push(
        place,
        target,
        _selection(features, cameras, episodes),
        manifest=load_manifest(manifest) if manifest else None,
        dry_run=dry_run,
        private=private,
        say=None if as_json else say,
    )
    answer(done.to_json(), done.render(), as_json)


def pull(
    url: Annotated[str, typer.Argument(help="The remote store.")],
    store: Annotated[str, typer.Argument(help="The folder; made if it is not there.")],
    features: Features = "",
    cameras: Cameras = "",
    episodes: Episodes = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be copied.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Copy parts of a remote store into a folder; every part is checked against its receipt when it arrives."""
    from ..store.share import pull as run_pull

    place, target = store_place(url), store_place(store)
    if isinstance(target, StoreUrl) or not isinstance(place, StoreUrl):
        raise ConfigError("pull goes from a URL to a folder", found=[url, store], expected="vtt store pull URL STORE")
    chosen = _selection(features, cameras, episodes)
    done = run_pull(place, target, chosen, dry_run=dry_run, say=None if as_json else say)
    answer(done.to_json(), done.render(), as_json)


def _selection(features: str, cameras: str, episodes: str) -> "Selection":
    from ..store.selection import Selection, parse_episodes

    return Selection(_names(features), _names(cameras), parse_episodes(episodes) if episodes else ())


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
