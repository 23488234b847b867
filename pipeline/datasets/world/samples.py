"""Batches of the pretext: frames, the phrases that are asked about them, and what is true."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ...spec import IMAGENET_MEAN, IMAGENET_STD
from .checkpoints import TOKENIZER_MAX_LENGTH
from .language import COLOURS, COMPOUNDS, PHRASE_TEMPLATES, REFERENTS, instruction, phrases
from .pretext import Arrays, image_maps, read_pretext
from .render import OBJECTS, ORANGE

SEEN = (*OBJECTS, "held cube", "placed cube")  # what the dense readouts tell of every cell
NAMED = REFERENTS + COMPOUNDS
TOKEN_SIDE = 7  # the image tokens of Z are this many a side


class Batch(NamedTuple):
    """Frames with their phrases (two each) and instruction, and what is true of them."""

    pixels: Float[Tensor, "b 3 h w"]
    shares: Float[Tensor, "b o g g"]
    phrases: Int[Tensor, "b p n"]
    referents: Float[Tensor, "b p g g"]
    instructions: Int[Tensor, "b n"]
    states: Float[Tensor, "b 6"]
    actions: Float[Tensor, "b t 6"]
    expert: Float[Tensor, " b"]
    held: Int[Tensor, " b"]
    placed: Int[Tensor, " b"]


class Scenes:
    """The frames of a directory of :func:`~.pretext.write_pretext`, and what is true of them."""

    def __init__(self, directory: Path) -> None:
        self.facts: Arrays = read_pretext(directory)
        self.maps = image_maps(directory)
        self.starts = np.cumsum([0] + [len(m) for m in self.maps])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def rows(self, rng: np.random.Generator, step: int, size: int, *, shuffle: bool) -> Int[np.ndarray, " b"]:
        """Which frames a step sees: any, or each in its turn."""
        return np.sort(rng.integers(len(self), size=size)) if shuffle else np.arange(step * size, (step + 1) * size)

    def pixels(self, rows: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b 3 h w"]:
        """Frames as the network takes them: in 0..1, then ImageNet's normalisation."""
        which = np.searchsorted(self.starts, rows, side="right") - 1
        raw: UInt8[np.ndarray, "b 3 h w"] = np.stack(
            [self.maps[m][r - self.starts[m]] for m, r in zip(which, rows, strict=True)]
        )
        mean, std = (np.array(v, np.float32)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
        out: Float[np.ndarray, "b 3 h w"] = (raw.astype(np.float32) / 255 - mean) / std
        return out


class Sampler:
    """Batches by step number alone, so that a resumed run sees what an uninterrupted one would."""

    def __init__(self, directory: Path, tokenizer: Any, *, seed: int) -> None:
        self.scenes, self.seed = Scenes(directory), seed
        self.facts = self.scenes.facts
        self.phrase_ids = torch.stack([tokenizer_ids(tokenizer, p) for r in NAMED for p in phrases(r)])
        self.instruction_ids = torch.stack([tokenizer_ids(tokenizer, instruction(c)) for c in COLOURS])

    def __len__(self) -> int:
        return len(self.scenes)

    def batch(self, step: int, size: int, *, augment: bool = True) -> Batch:
        """The batch of one step; flipped and re-lit at random when ``augment``."""
        rng = np.random.default_rng([self.seed, step])
        rows = self.scenes.rows(rng, step, size, shuffle=augment)
        shares = np.stack([self._shares(int(row)) for row in rows])
        asked = np.stack([self._ask(rng, int(row)) for row in rows])  # (b, 2)
        referents = np.stack([[self._mask(r, k) for k in ks] for r, ks in zip(rows, asked, strict=True)])
        wording = asked * len(PHRASE_TEMPLATES) + rng.integers(len(PHRASE_TEMPLATES), size=asked.shape)
        pixels, flip = self.scenes.pixels(rows), rng.random(size) < (0.5 if augment else 0.0)
        if augment:
            pixels = relight(rng, pixels)
        for side in (pixels, shares, referents):
            side[flip] = side[flip][..., ::-1]
        tensor = torch.from_numpy
        return Batch(
            pixels=tensor(pixels.astype(np.float32)),
            shares=tensor(shares),
            phrases=self.phrase_ids[tensor(wording)],
            referents=tensor(referents.astype(np.float32)),
            instructions=self.instruction_ids[tensor(self.facts["colour"][rows].astype(np.int64))],
            states=tensor(self.facts["states"][rows] * (rng.random((size, 1)) < 0.5)).float(),
            actions=tensor(self.facts["actions"][rows]),
            expert=tensor((self.facts["expert"][rows] * ~flip).astype(np.float32)),
            held=tensor(self.facts["held"][rows].astype(np.int64) + 1),
            placed=tensor(self.facts["released"][rows].astype(np.int64) + 1),
        )

    def _ask(self, rng: np.random.Generator, row: int) -> Int[np.ndarray, "2"]:
        """One plain referent, and one of a colour and a state: half of the time the true one, if there is one."""
        states = (self.facts["held"][row], self.facts["released"][row])
        true = [len(COLOURS) * place + int(colour) for place, colour in enumerate(states) if colour >= 0]
        compound = true[0] if true and rng.random() < 0.5 else int(rng.integers(len(COMPOUNDS)))
        return np.array([rng.integers(len(REFERENTS)), len(REFERENTS) + compound])

    def _shares(self, row: int) -> Float[np.ndarray, "s g g"]:
        """Share of every cell that each of ``SEEN`` covers."""
        objects = self.facts["shares"][row].astype(np.float32) / 255
        return np.concatenate([objects, [self._state(objects, row, "held"), self._state(objects, row, "released")]])

    def _state(self, objects: Float[np.ndarray, "o g g"], row: int, fact: str) -> Float[np.ndarray, "g g"]:
        """The cube that is held or was released; nothing where there is none."""
        colour = int(self.facts[fact][row])
        return np.asarray(objects[ORANGE + colour] if colour >= 0 else np.zeros_like(objects[0]))

    def _mask(self, row: int, referent: int) -> Float[np.ndarray, "g g"]:
        """Share of every cell that the referent covers; nothing where it is not there."""
        objects = self.facts["shares"][row].astype(np.float32) / 255
        name = NAMED[referent]
        if referent < len(COLOURS):
            return np.asarray(objects[ORANGE + referent])
        if name in OBJECTS:
            return np.asarray(objects[OBJECTS.index(name)])
        fact = "held" if name.endswith("gripper") else "released"
        meant = self._state(objects, row, fact)
        if referent < len(REFERENTS):
            return meant
        right = int(self.facts[fact][row]) == (referent - len(REFERENTS)) % len(COLOURS)
        return meant if right else np.zeros_like(meant)


def subcells(maps: Float[Tensor, "b o n n"], side: int = TOKEN_SIDE) -> Float[Tensor, "b cells o k"]:
    """Maps of n x n by the cells of a side x side grid, row-major, each with its k = (n / side)^2 parts, row-major."""
    b, o, n, _ = maps.shape
    k = n // side
    blocks = maps.reshape(b, o, side, k, side, k).permute(0, 2, 4, 1, 3, 5)
    return blocks.reshape(b, side * side, o, k * k)


def tokenizer_ids(tokenizer: Any, text: str) -> Int[Tensor, " n"]:
    """Padded on the right to the checkpoint's length, as its preprocessor does."""
    ids = tokenizer(text, padding="max_length", max_length=TOKENIZER_MAX_LENGTH, truncation=True, return_tensors="pt")
    out: Tensor = ids.input_ids[0]
    return out


def relight(rng: np.random.Generator, pixels: Float[np.ndarray, "b 3 h w"]) -> Float[np.ndarray, "b 3 h w"]:
    """Every frame with a contrast and a brightness of its own."""
    contrast, brightness = (rng.uniform(*span, (len(pixels), 1, 1, 1)) for span in ((0.8, 1.2), (-0.15, 0.15)))
    lit: Float[np.ndarray, "b 3 h w"] = pixels * contrast.astype(np.float32) + brightness.astype(np.float32)
    return lit
