"""Which remote place a URL means."""

from ..place import StoreUrl
from .remote import Patience, Remote


def open_remote(url: StoreUrl, *, patience: Patience | None = None) -> Remote:
    """The place a URL means. MissingDependency if the package that speaks to it is not installed."""
    if url.scheme == "hf":
        from .hub import HubRemote

        return HubRemote(url, patience=patience or Patience())
    from .objects import ObjectRemote

    return ObjectRemote(url, patience=patience or Patience())
