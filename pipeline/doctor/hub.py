"""Can the Hugging Face Hub be reached? Asked with a short timeout, and not at all where that was forbidden."""

import threading
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from ..place import without_secrets
from .findings import Finding

AREA = "hub"
TIMEOUT_S = 2.0


def look_at_hub(endpoint: str, *, offline: bool, timeout_s: float = TIMEOUT_S) -> Finding:
    """Reach for the Hub, unless ``offline``. The token is not sent."""
    means = "cached checkpoints and local datasets work; others cannot be fetched"
    if offline:
        return Finding(AREA, "reachable", "note", "not asked: HF_HUB_OFFLINE is set", means)
    shown = without_secrets(endpoint)
    if urlsplit(endpoint).scheme not in ("http", "https"):
        return Finding(AREA, "reachable", "warn", f"{shown} is no address", means, "correct HF_ENDPOINT")
    answer: list[str | None] = []
    # a name server that is silent does not heed timeouts
    thread = threading.Thread(target=lambda: answer.append(_reach(endpoint, timeout_s)), daemon=True)
    thread.start()
    thread.join(timeout_s + 0.5)
    problem = answer[0] if answer else f"no answer within {timeout_s:g} s"
    if problem is None:
        return Finding(AREA, "reachable", "ok", shown, "checkpoints and datasets can be fetched")
    remedy = "check network and proxy; set HF_HUB_OFFLINE=1 where there is none, so that nothing waits for it"
    return Finding(AREA, "reachable", "warn", f"{shown}: {problem}", means, remedy)


def _reach(endpoint: str, timeout_s: float) -> str | None:
    """None if something answers; else why not."""
    request = urllib.request.Request(endpoint, method="HEAD")  # noqa: S310 - the scheme was checked
    try:
        with urllib.request.urlopen(request, timeout=timeout_s):  # noqa: S310
            return None
    except urllib.error.HTTPError as error:
        return None if error.code < 500 else f"HTTP {error.code}"
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
