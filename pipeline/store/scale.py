"""Measuring what int8 divides every channel by: the standard deviation over training episodes, and no others.

    s_c = sqrt(mean over rows and tokens of (x_c - mean_c)^2), in float64, pooled row by row
          (Chan, Golub and LeVeque 1983, eq. 2.1)

*We differ* where a channel barely varies: one whose deviation is below a thousandth of its root mean square gets that
root mean square, and one of zeros gets 1. Divided by next to nothing, it would set the scale of every token.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float32, Float64
from tqdm import tqdm

from ..datasets.splits import training_episodes
from ..errors import ConfigError, Interrupted, ManifestError, StoreError, StoreMismatch
from ..interrupt import Stop
from ..manifest import DatasetManifest, episode_ranges
from .array import ArrayRef
from .int8 import ChannelScale
from .store import FeatureStore
from .tiers import to_float32
from .whole import located, read_part

CONSTANT_BELOW = 1e-3
"""A channel varies if its deviation is at least this share of its root mean square."""

_RUN = r"\d{1,9}(?:-\d{1,9})?"
_MEASURED_ON = re.compile(rf".* \((\S+)\), split train, episodes ({_RUN}(?:, {_RUN})*)")


class Moments:
    """Count, mean and sum of squared deviations of every channel, added to row by row."""

    def __init__(self) -> None:
        self.rows = self.tokens = 0
        self._mean: Float64[np.ndarray, " channels"] = np.zeros(0)
        self._squares: Float64[np.ndarray, " channels"] = np.zeros(0)

    def add(self, row: Float32[np.ndarray, "*tokens channels"]) -> None:
        """Pool the tokens of one more row.

        Raises:
            StoreError: a number that is not finite.
        """
        x = row.reshape(-1, row.shape[-1])
        if not np.isfinite(x).all():
            raise StoreError("a channel's scale cannot be measured on NaN or infinite numbers")
        mean = x.mean(axis=0, dtype=np.float64)
        centred = x - mean  # (tokens, channels), float64
        squares = np.einsum("tc,tc->c", centred, centred)
        if self.rows:
            total, shift = self.tokens + len(x), mean - self._mean
            squares += self._squares + shift**2 * (self.tokens * len(x) / total)
            mean = self._mean + shift * (len(x) / total)
        self._mean, self._squares = mean, squares
        self.rows, self.tokens = self.rows + 1, self.tokens + len(x)

    def scale(self, measured_on: str) -> ChannelScale:
        """What every channel is divided by.

        Raises:
            StoreError: no row was added, or a channel whose scale float32 cannot hold.
        """
        if not self.rows:
            raise StoreError("there is no row to measure a channel's scale on", found=measured_on)
        deviation = np.sqrt(self._squares / self.tokens)
        size = np.sqrt(deviation**2 + self._mean**2)
        chosen = np.where(deviation >= CONSTANT_BELOW * size, deviation, size)
        scale = ChannelScale(_float32(np.where(size > 0, chosen, 1.0)), self.rows, measured_on)
        if not scale.fits(len(deviation)):
            raise StoreError("a channel is too large or too small for a float32 scale", found=f"{chosen.max():.3g}")
        return scale


@dataclass(frozen=True)
class Measure:
    """How a scale is measured.

    Args:
        manifest: whose training episodes; None if none was named.
        stop: looked at between two parts.
        progress: show a progress bar on stderr.
    """

    manifest: DatasetManifest | None
    stop: Stop
    progress: bool = False


def measure_scale(source: FeatureStore, arrays: Sequence[ArrayRef], measure: Measure) -> ChannelScale:
    """The scale of one feature's channels over its finished rows of training episodes, read part by part.

    Raises:
        ConfigError: no manifest.
        ManifestError: there is no such row.
        StoreError: a number that is not finite; names part and row.
        StoreCorrupt: a part is damaged.
        Interrupted: a signal asked to stop; nothing was written.
    """
    manifest = _required(measure.manifest)
    train, seen, moments = training_split(source, arrays, manifest), set[int](), Moments()
    with closing(tqdm(desc=f"measuring {arrays[0].key}", unit="row", disable=not measure.progress)) as bar:
        for array in arrays:
            table = source.index_table(array.index_id)
            chosen, episode = rows_of(table, manifest, train), table["episode_index"].to_numpy()
            for part in array.finished_parts():
                if measure.stop:
                    raise Interrupted(
                        f"stopped by {measure.stop.signal}", remedy="nothing was written yet: run it again"
                    )
                rows = array.meta.part_range(part)
                wanted = np.flatnonzero(chosen[rows.start : rows.stop])
                _add_rows(moments, array, part, wanted.tolist())
                seen.update(episode[rows.start + wanted].tolist())
                bar.update(len(wanted))
    if not seen:
        raise ManifestError(
            f"{source.path} has no row of a training episode of {manifest.name}",
            expected=f"some of episodes {episode_ranges(train)} of {manifest.repo_id}",
            remedy="name the manifest that the features were extracted with",
        )
    return moments.scale(describe_rows(manifest, seen))


def training_split(source: FeatureStore, arrays: Sequence[ArrayRef], manifest: DatasetManifest) -> frozenset[int]:
    """The manifest's training episodes, drawn as training draws them. Raises ManifestError as the manifest does."""
    tables = [source.index_table(array.index_id) for array in arrays]
    own = [table.filter(pc.equal(table["repo_id"], manifest.repo_id)) for table in tables]
    return training_episodes(manifest, {episode for table in own for episode in table["episode_index"].to_pylist()})


def rows_of(table: pa.Table, manifest: DatasetManifest, episodes: Iterable[int]) -> Bool[np.ndarray, " rows"]:
    """Which rows of an index belong to these episodes of the manifest's dataset."""
    own = pc.equal(table["repo_id"], manifest.repo_id).to_numpy()
    chosen: Bool[np.ndarray, " rows"] = own & np.isin(table["episode_index"].to_numpy(), list(episodes))
    return chosen


def describe_rows(manifest: DatasetManifest, episodes: Iterable[int]) -> str:
    """The words for :attr:`ChannelScale.measured_on`."""
    return f"{manifest.name} ({manifest.repo_id}), split train, episodes {episode_ranges(episodes)}"


def refuse_leak(scale: ChannelScale, manifest: DatasetManifest, train: Iterable[int]) -> None:
    """StoreMismatch if a stored scale was measured on episodes of this dataset that the manifest does not train on."""
    match = _MEASURED_ON.fullmatch(scale.measured_on)
    if match is None or match.group(1) != manifest.repo_id:
        return
    allowed = np.array(sorted(train), np.int64)
    for run in match.group(2).split(", "):
        first, last = (run.split("-") * 2)[:2]
        inside = np.searchsorted(allowed, [int(first), int(last) + 1])
        if inside[1] - inside[0] != int(last) - int(first) + 1:
            raise StoreMismatch(
                "the channel scale that is there was measured on episodes that are not trained on here",
                found=scale.measured_on,
                expected=f"training episodes of {manifest.name}: {episode_ranges(allowed.tolist())}",
                remedy="convert into another store, or name the manifest the scale was measured with",
            )


def _float32(values: Float64[np.ndarray, " channels"]) -> tuple[float, ...]:
    with np.errstate(over="ignore"):
        return tuple(float(value) for value in values.astype(np.float32))


def _add_rows(moments: Moments, array: ArrayRef, part: int, rows: list[int]) -> None:
    values = read_part(array, part).values if rows else ()
    for row in rows:
        try:
            moments.add(to_float32(values[row], array.spec.tier))
        except StoreError as error:
            raise located(error, array, part, row) from error


def _required(manifest: DatasetManifest | None) -> DatasetManifest:
    if manifest is None:
        raise ConfigError(
            "int8 needs a manifest: the scale of its channels is measured on training episodes only",
            remedy="add --manifest with the manifest the features were extracted with",
        )
    return manifest
