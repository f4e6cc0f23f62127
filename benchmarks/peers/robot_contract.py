"""A control step of DreamZero, for those that have one: what is given, NumPy only.

The transformer of DreamZero, shrunken, as text to video: no image and no conditioning
latents, float32, one robot, guided. The first step of a session is taken; the second is
timed again and again: it reads two observed frames into the KV caches of both branches,
then takes 16 steps of UniPC, at 16 calls or with StepCache at 4. All cosines pass, so
the countdown alone says which.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import contract
import numpy as np

# By the names of the original's options.
SIZES = {
    "model_type": "t2v",
    "dim": 512,
    "ffn_dim": 1408,
    "num_heads": 4,
    "num_layers": 6,
    "in_dim": 16,
    "out_dim": 16,
    "frame_seqlen": 55,
    "text_len": 64,
    "text_dim": 256,
    "freq_dim": 64,
    "max_chunk_size": 4,
    "num_frame_per_block": 2,
    "num_action_per_block": 24,
    "num_state_per_block": 1,
    "action_dim": 32,
    "max_state_dim": 64,
    "hidden_size": 64,
}
LATENT = (10, 22)
NUM_STEPS, SHIFT, GUIDANCE, COUNTDOWN = 16, 5.0, 5.0, 4
CASES = ("step", "step_cache")


class Given(NamedTuple):
    """What a contender reads; all arrays but ``weights`` have a leading row.

    Attributes:
        weights: float32 arrays, by the names of the original's checkpoints.
        text: the encoded prompt, [1, text_len, text_dim].
        negative: the negative one.
        first: the first frame, [1, C, 1, H, W].
        latents: the two frames after it, [1, C, 2, H, W].
        state: [1, 1, max_state_dim].
        video: noise, [1, C, 2, H, W].
        action: noise, [1, actions, action_dim].
    """

    weights: dict[str, np.ndarray]
    text: np.ndarray
    negative: np.ndarray
    first: np.ndarray
    latents: np.ndarray
    state: np.ndarray
    video: np.ndarray
    action: np.ndarray


def drawn(shapes: dict[str, tuple[int, ...]]) -> Given:
    """Everything from a seed.

    Args:
        shapes: of the weights.
    """
    rng = np.random.default_rng(1)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    weights = {
        # A normalisation's weight is about one; all else small, so no sum overflows.
        name: np.float32(0.05) * draw(*shape) + np.float32("norm" in name)
        for name, shape in shapes.items()
    }
    s = SIZES
    text = (1, s["text_len"], s["text_dim"])
    frame = (s["out_dim"], 1, *LATENT)
    block = (s["out_dim"], s["num_frame_per_block"], *LATENT)
    return Given(
        weights,
        text=draw(*text),
        negative=draw(*text),
        first=draw(1, *frame),
        latents=draw(1, *block),
        state=draw(1, s["num_state_per_block"], s["max_state_dim"]),
        video=draw(1, *block),
        action=draw(1, s["num_action_per_block"], s["action_dim"]),
    )


def read_given(path: Path) -> Given:
    """What `contract.write_given` has written."""
    return contract.read_given(path, Given)


def answer(video: np.ndarray, action: np.ndarray) -> np.ndarray:
    """What is compared of a step."""
    return np.concatenate([np.ravel(video), np.ravel(action)])
