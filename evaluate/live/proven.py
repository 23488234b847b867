"""Frames of the dataset, each proven to be the one whose features the store holds."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ...pipeline.datasets.lerobot import LeRobotSource, decode_frames
from ...pipeline.errors import DatasetError
from ...train.inputs import Inputs
from .features import Picture


class ProvenFrames:
    """Frames of the dataset, each proven to be the one that was extracted."""

    def __init__(self, source: LeRobotSource, inputs: Inputs) -> None:
        self._source, self._known = source, dict[tuple[int, str, int], Picture]()
        self._store, self._keys = inputs.store, inputs.keys

    def __call__(self, name: str, table: pa.Table) -> list[Picture]:
        """The frame of every row."""
        places = _places(table)
        for episode, camera in sorted({(episode, camera) for episode, camera, _ in places}):
            wanted = sorted({place[2] for place in places if place[:2] == (episode, camera)})
            new = [frame for frame in wanted if (episode, camera, frame) not in self._known]
            for found in decode_frames(self._source, episode, camera, new):
                self._known[episode, camera, found.frame_index] = found.rgb
        self._prove(name, places)
        return [self._known[place] for place in places]

    def _prove(self, name: str, places: Sequence[tuple[int, str, int]]) -> None:
        """DatasetError for a frame whose pixels are not those the feature was made from."""
        seen = self._store.frames(self._keys[name])
        hashes = dict(zip(_places(seen), seen["pixels_sha256"].to_pylist(), strict=True))
        for place in places:
            expected = hashes.get(place)
            found = hashlib.sha256(np.ascontiguousarray(self._known[place])).hexdigest()
            if expected is not None and expected != found:
                raise DatasetError(
                    "the dataset's frames are not the ones the store was made from",
                    found=f"other pixels in episode {place[0]}, camera {place[1]}, frame {place[2]}",
                    expected=f"pixels with sha256 {expected[:16]}…",
                    remedy="name the dataset's folder with --root, or extract it into a store of its own",
                )


def _places(table: pa.Table) -> list[tuple[int, str, int]]:
    columns = (table[name].to_pylist() for name in ("episode_index", "camera", "frame_index"))
    return list(zip(*columns, strict=True))
