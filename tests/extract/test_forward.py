from dataclasses import replace

import numpy as np
import pytest
import torch

from visual_thought.extract.backbones.xvla import describe, load
from visual_thought.extract.decode import DecodedBatch, Frame
from visual_thought.extract.forward import Forward
from visual_thought.extract.preprocess import preprocess
from visual_thought.extract.work import Batch, FrameId, Key, Place, Query
from visual_thought.pipeline.errors import MachineError

NAMES = tuple(FrameId("lab/x", 0, "main", index) for index in range(4))
QUERIES = (Query(0, "the cube"), Query(0, "the box"), Query(1, "the cube"), Query(3, "the box"))


class Small:
    """The tiny X-VLA on a device whose memory holds ``room`` frames or queries at once."""

    def __init__(self, backbone, room):
        self._backbone, self._room, self.most = backbone, room, 0
        self.specs, self.device = backbone.specs, backbone.device

    def encode_frames(self, pixels):
        self._take(len(pixels))
        return self._backbone.encode_frames(pixels)

    def encode_queries(self, state, instructions):
        self._take(len(state))
        return self._backbone.encode_queries(state, instructions)

    def _take(self, count):
        if count > self._room:
            raise torch.OutOfMemoryError(f"no room for {count}")
        self.most = max(self.most, count)


@pytest.fixture
def backbone(xvla):
    return load(str(xvla), describe(str(xvla), dtype="fp32", image_size=(28, 28)), device=torch.device("cpu"))


@pytest.fixture
def batch(frames):
    return DecodedBatch(Batch(NAMES, QUERIES), [Frame(0.1 * at, rgb, "") for at, rgb in enumerate(frames)], 0.5)


def rows_of(backbone, batch, missing=QUERIES):
    keys = {spec.name: spec.key for spec in backbone.specs}
    places = {Key(keys["z"], NAMES[query.position], query.instruction): [Place(0, 0)] for query in missing}
    places |= {Key(keys["r"], name, None): [Place(1, 0)] for name in batch.batch.frames}
    forward, asked = Forward([backbone], 4), batch._replace(batch=replace(batch.batch, places=places))
    rows = forward.rows(forward.wait(forward.launch(asked)))
    return {key._replace(feature=key.feature[0]): values for key, _, values in rows}


def test_every_frame_and_query_gets_its_own_row(backbone, batch):
    rows = rows_of(backbone, batch)
    assert sum(key.feature == "r" for key in rows) == 4
    assert {key[1:] for key in rows if key.feature == "z"} == {(NAMES[at], text) for at, text in QUERIES}
    cube, box = (rows[Key("z", NAMES[0], text)] for text in ("the cube", "the box"))
    assert cube.shape == backbone.specs[0].shape
    assert not np.array_equal(cube, box)


def test_queries_that_are_stored_already_do_not_run(backbone, batch):
    assert not any(key.feature == "z" for key in rows_of(backbone, batch, missing=()))


def test_a_full_device_halves_what_runs_at_once_and_keeps_the_features(backbone, batch):
    expected, small = rows_of(backbone, batch), Small(backbone, room=1)
    found = rows_of(small, batch)
    assert small.most == 1
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, atol=1e-5)


def test_a_device_without_room_for_one_frame_is_a_named_error(backbone, batch):
    with pytest.raises(MachineError, match="does not hold one frame"):
        rows_of(Small(backbone, room=0), batch)


def test_several_instructions_a_frame_are_bit_equal_to_lerobots_forward_vlm(xvla, frames):
    from lerobot.policies.xvla.modeling_xvla import XVLAPolicy

    specs = describe(str(xvla), dtype="fp32", image_size=(28, 28))
    ours, names = load(str(xvla), specs, device=torch.device("cpu")), NAMES[:2]
    queries = tuple(Query(at, text) for at in range(2) for text in ("the box", "the cube"))
    towers, tower = [], ours.vlm.vision_tower.register_forward_hook(lambda *_: towers.append(1))
    decoded = DecodedBatch(Batch(names, queries), [Frame(0.0, rgb, "") for rgb in frames[:2]], 0.0)
    rows = rows_of(ours, decoded, queries)
    found = [rows[Key("z", names[at], text)] for at, text in queries]
    tower.remove()
    assert len(towers) == 1  # one pass for both instructions
    model, pixels = XVLAPolicy.from_pretrained(xvla).model, preprocess(frames[:2], specs[0].image)
    ids = ours.encode_text([query.instruction for query in queries])
    with torch.no_grad():
        twice = model.forward_vlm(ids[:2], pixels[:, None], torch.ones(2, 1))["vlm_features"]  # box, cube
        swapped = model.forward_vlm(ids[:2].flip(0), pixels[:, None], torch.ones(2, 1))["vlm_features"]
    expected = [twice[0], swapped[0], swapped[1], twice[1]]
    for mine, theirs in zip(found, expected, strict=True):
        assert np.array_equal(mine, theirs.numpy())
