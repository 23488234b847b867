"""The feature store: one folder, many arrays, no locks."""

from .array import ArrayRef
from .frames import FRAMES_SCHEMA
from .listing import StoreSummary, summarise
from .reader import RowReader
from .store import FeatureStatus, FeatureStore
from .writer import ArrayPlan, commit_part, plan_array

__all__ = [
    "FRAMES_SCHEMA",
    "ArrayPlan",
    "ArrayRef",
    "FeatureStatus",
    "FeatureStore",
    "RowReader",
    "StoreSummary",
    "commit_part",
    "plan_array",
    "summarise",
]
