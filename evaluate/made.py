"""Which code judged, and when."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

from ..pipeline.record import installed_versions, source_commit


@dataclass(frozen=True)
class Made:
    """An evaluation's own origin, beside that of the training it judges.

    Args:
        date: when it was made, UTC, to the second.
        versions: of Python and the packages.
        commit: of the source tree, if it has one.
    """

    date: str
    versions: Mapping[str, str]
    commit: str | None

    @classmethod
    def now(cls) -> Self:
        """That of this process."""
        return cls(datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"), installed_versions(), source_commit())

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``metrics.json``."""
        return asdict(self)
