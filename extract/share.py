"""One of N parts of an extraction, for as many machines as there are: ``--part i/N``.

The split is a function of the plan alone, not of what is there already: the shares of N are disjoint, cover the whole
together, and may be made in any order, anywhere, any number of times. A share is contiguous in the frame table's
order, so every video is decoded by one machine, or by two where a cut falls into it.
Shares nest: share k of W of share i of N is share (i - 1) W + k of N W.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from ..pipeline.errors import ConfigError
from ..pipeline.store import ArrayPlan
from .work import FrameId, frame_ids

Share = tuple[int, int]
"""(i, N), counted from 1."""

_SHARE = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


def parse_share(text: str) -> Share:
    """``i/N`` as a share; ConfigError if it cannot be meant."""
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        raise _no_share(text)
    return check_share((int(match[1]), int(match[2])))


def check_share(share: Share) -> Share:
    """The same share; ConfigError unless 1 <= i <= N."""
    if not 1 <= share[0] <= share[1]:
        raise _no_share(f"{share[0]}/{share[1]}")
    return share


def split_share(share: Share | None, count: int) -> list[Share]:
    """A share (None: everything) cut into ``count`` shares."""
    number, of = share or (1, 1)
    return [((number - 1) * count + k, of * count) for k in range(1, count + 1)]


def take_share(arrays: Sequence[ArrayPlan], share: Share | None) -> list[ArrayPlan]:
    """The same plans with only those parts wanted and missing that belong to one share; None takes all.

    The feature with the fewest parts is cut into N runs of parts of about the same length. A part of another feature
    belongs to the run in which its first frame lies, so what is computed from one frame is computed in one share,
    but for the frames around a cut.
    """
    if share is None:
        return list(arrays)
    number, of = share
    starts = [_first_frames(plan) for plan in arrays]
    cuts = _cuts(arrays, starts, of)
    kept = []
    for plan, first in zip(arrays, starts, strict=True):
        mine = {part for part, frame in first.items() if bisect_right(cuts, frame) == number - 1}
        missing = tuple(part for part in plan.missing if part in mine)
        kept.append(replace(plan, wanted=tuple(sorted(mine)), missing=missing))
    return kept


def _first_frames(plan: ArrayPlan) -> dict[int, FrameId]:
    """The first frame of every wanted part."""
    rows = [plan.part_range(part).start for part in plan.wanted]
    return dict(zip(plan.wanted, frame_ids(plan.table.take(rows)), strict=True))


def _cuts(arrays: Sequence[ArrayPlan], starts: Sequence[dict[int, FrameId]], count: int) -> list[FrameId]:
    """The frames at which shares 2, 3, … of ``count`` begin."""
    frames: dict[str, list[FrameId]] = {}
    for plan, first in zip(arrays, starts, strict=True):
        if first:
            frames.setdefault(plan.spec.key, []).extend(first.values())
    if not frames:
        return []
    fewest = sorted(frames[min(frames, key=lambda key: (len(frames[key]), key))])
    return [fewest[k * len(fewest) // count] for k in range(1, count)]


def _no_share(found: str) -> ConfigError:
    return ConfigError(
        f"there is no part {found}", found=found, expected="i/N with 1 <= i <= N, for example 1/4, 2/4, 3/4 and 4/4"
    )
