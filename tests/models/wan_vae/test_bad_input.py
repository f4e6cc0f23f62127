"""What does not fit is told before anything is compiled."""

from __future__ import annotations

import numpy as np
import pytest

from jax_stepcache.models.wan_vae import (
    decode,
    decode_piece,
    encode,
    encode_piece,
    fresh_decoder,
    fresh_encoder,
    import_state_dict,
    state_dict_shapes,
)

from .small import OF_21, latents_of, video_of, weights_of

VIDEO = video_of(OF_21, 5)


@pytest.mark.parametrize(
    ("video", "words"),
    [
        (VIDEO[0], r"\(B, 3, frames, rows, columns\)"),
        (VIDEO.transpose(0, 2, 3, 4, 1), "rows, columns"),
        (VIDEO[:, :, :0], "shape"),
        (VIDEO[..., :3], "multiples of 4"),
        (VIDEO.astype(np.uint8), r"127\.5"),
        (VIDEO.astype(bool), "floating"),
    ],
)
def test_videos(video, words):
    """Shape, size and dtype."""
    with pytest.raises(ValueError, match=words):
        encode(OF_21, weights_of(OF_21), video)


def test_latents():
    """Channels and dtype."""
    latents = latents_of(OF_21, 2)
    for wrong, words in ((latents[:, :2], "3, frames"), (latents > 0, "floating")):
        with pytest.raises(ValueError, match=words):
            decode(OF_21, weights_of(OF_21), wrong)


@pytest.mark.parametrize("frames", [2, 4])
def test_the_first_piece_has_one_frame_more(frames):
    """Nothing is passed over in a stream."""
    piece = VIDEO[:, :, :frames]
    with pytest.raises(ValueError, match=f"{frames} frames; give 1 \\+ 4 k"):
        encode_piece(OF_21, weights_of(OF_21), fresh_encoder(OF_21), piece)


def test_a_state_is_of_one_stream():
    """Of its size, its kind and its direction."""
    weights = weights_of(OF_21)
    state, latents = encode_piece(OF_21, weights, fresh_encoder(OF_21), VIDEO)
    wide = video_of(OF_21, 4, columns=2)
    for given, piece, words in (
        (None, VIDEO, "fresh_encoder"),
        (state[1:], VIDEO[:, :, :4], "of 13; give"),
        (state, VIDEO[:, :, :1], "1 frames; give 4 k"),
        (state, wide, r"state\[0\] is of shape .* 8 x 8 has"),
        ((None, *state[1:]), VIDEO[:, :, :4], r"state\[0\] is None"),
        (tuple(x > 0 for x in state), VIDEO[:, :, :4], "float32"),
    ):
        with pytest.raises(ValueError, match=words):
            encode_piece(OF_21, weights, given, piece)
    for given in (state, list(fresh_decoder(OF_21))):
        with pytest.raises(ValueError, match="state is a"):
            decode_piece(OF_21, weights, given, latents)


def test_tensors_that_do_not_fit_are_all_named():
    """Missing, extra, misshapen."""
    shapes = state_dict_shapes(OF_21)
    given = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    given["conv9.weight"] = given.pop("conv1.weight")
    given["conv2.bias"] = np.zeros(7, np.float32)
    with pytest.raises(ValueError, match="3 faults") as told:
        import_state_dict(OF_21, given)
    for words in ("missing: conv1.weight", "extra: conv9.weight", "shape: conv2.bias"):
        assert words in str(told.value)
    with pytest.raises(ValueError, match="diffusers"):
        state_dict_shapes(OF_21, "difusers")
