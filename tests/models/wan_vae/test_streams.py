"""What a stream gives is what the whole gives, however it is cut."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.models.wan_vae import (
    CONFIGS,
    bind,
    decode,
    decode_piece,
    encode,
    encode_piece,
    fresh_decoder,
    fresh_encoder,
    streams,
)
from jax_stepcache.models.wan_vae.streams import decoder_slots, encoder_slots

from .small import KINDS, OF_21, OF_22, assert_same, latents_of, video_of, weights_of

# One direction of each kind is quick.
FROM_VIDEO = [OF_21, pytest.param(OF_22, marks=pytest.mark.slow)]


@pytest.mark.slow
@given(cuts=st.lists(st.integers(1, 2), max_size=3))
@pytest.mark.parametrize("config", FROM_VIDEO, ids=KINDS)
def test_pieces_of_a_video_are_the_whole(config, cuts):
    """Encoding goes on from any piece; the first of them may be longer than a frame."""
    weights = weights_of(config)
    first, *later = [0, *cuts] if len(cuts) % 2 else [*cuts, 0][::-1]
    video = video_of(config, 1 + 4 * (first + sum(later)))
    state, pieces, start = fresh_encoder(config), [], 0
    for size in (1 + 4 * first, *(4 * k for k in later)):
        piece = video[:, :, start : start + size]
        start += size
        if size:
            state, latents = encode_piece(config, weights, state, piece)
            pieces.append(latents)
    whole = encode(config, weights, video)
    assert whole.shape == (1, 3, 1 + first + sum(later), 2, 1)
    assert_same(jnp.concatenate(pieces, axis=2), whole)


@pytest.mark.slow
@given(cuts=st.lists(st.integers(1, 2), min_size=1, max_size=3))
@pytest.mark.parametrize("config", [OF_21, OF_22], ids=KINDS)
def test_pieces_of_latents_are_the_whole(config, cuts):
    """Decoding goes on from any piece, the first of which may be longer than one."""
    weights, latents = weights_of(config), latents_of(config, sum(cuts))
    state, pieces, start = fresh_decoder(config), [], 0
    for size in cuts:
        piece = latents[:, :, start : start + size]
        start += size
        state, frames = decode_piece(config, weights, state, piece)
        pieces.append(frames)
    whole = decode(config, weights, latents)
    height, width = (side * config.spatial_stride for side in (2, 1))
    assert whole.shape == (1, 3, 4 * sum(cuts) - 3, height, width)
    assert_same(jnp.concatenate(pieces, axis=2), whole)


def test_frames_that_fill_no_piece_are_passed_over():
    """As in the original: four frames are one latent, eight are two."""
    weights, video = weights_of(OF_21), video_of(OF_21, 8)
    assert_same(encode(OF_21, weights, video), encode(OF_21, weights, video[:, :, :5]))
    assert encode(OF_21, weights, video[:, :, :4]).shape[2] == 1


@pytest.mark.slow
def test_the_future_changes_nothing():
    """Latents hang on the frames before them, and frames on the latents before."""
    weights, video = weights_of(OF_22), video_of(OF_22, 9)
    other = video.copy()
    other[:, :, 5:] = 0
    one, two = (encode(OF_22, weights, x) for x in (video, other))
    assert_same(one[:, :, :2], two[:, :, :2])
    assert np.abs(one[:, :, 2] - two[:, :, 2]).max() > 0.01
    one, two = (decode(OF_22, weights, x) for x in (one, two))
    assert_same(one[:, :, :5], two[:, :, :5])


def test_rows_are_apart():
    """Videos side by side are what each is alone."""
    weights, video = weights_of(OF_21), video_of(OF_21, 5, batch=2)
    both = encode(OF_21, weights, video)
    assert_same(both[1:], encode(OF_21, weights, video[1:]))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_fresh_stream_remembers_nothing(name):
    """The released sizes have the original's 24 and 32 slots, all of them empty."""
    config = CONFIGS[name]
    assert fresh_encoder(config) == (None,) * 24
    assert fresh_decoder(config) == (None,) * 32


def test_slots_are_known_before_anything_is_computed():
    """Shapes and dtypes of a state that has begun, which later pieces keep."""
    weights, video = weights_of(OF_21), video_of(OF_21, 5)
    state, latents = encode_piece(OF_21, weights, fresh_encoder(OF_21), video)
    structs = encoder_slots(OF_21, 1, 8, 4)
    assert [(x.shape, x.dtype) for x in state] == [(x.shape, x.dtype) for x in structs]
    # The temporal halvings remember one frame, all others two.
    assert [x.shape[1] for x in structs].count(1) == 2
    state, _ = decode_piece(OF_21, weights, fresh_decoder(OF_21), latents)
    structs = decoder_slots(OF_21, 1, 2, 1)
    assert [(x.shape, x.dtype) for x in state] == [(x.shape, x.dtype) for x in structs]
    half = encoder_slots(replace(OF_21, dtype="bfloat16"), 1, 8, 4)
    assert {x.dtype for x in half} == {jnp.dtype("bfloat16")}


@pytest.mark.slow
@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)
def test_half_precision_is_near(config):
    """bfloat16 gives what float32 gives, but for its roundings: some percent."""

    def error(narrow, wide):
        return np.std(narrow.astype(np.float32) - wide) / np.std(wide)

    # Of two channels, the normalisation makes much of a little.
    config = replace(config, dim=8, dec_dim=config.dec_dim and 8)
    weights, video = weights_of(config), video_of(config, 5)
    half = replace(config, dtype="bfloat16")
    wide, narrow = (encode(c, weights, video) for c in (config, half))
    assert narrow.dtype == jnp.bfloat16
    assert 0 < error(narrow, wide) < 0.04
    frames, rough = (decode(c, weights, wide) for c in (config, half))
    assert 0 < error(rough, frames) < 0.04


@pytest.mark.slow
def test_a_picture_of_one_latent():
    """Attention of one place is that place, in half precision, too."""
    config = replace(OF_21, dtype="bfloat16")
    weights, video = weights_of(config), video_of(config, 5, rows=1)
    latents = encode(config, weights, video)
    assert decode(config, weights, latents).shape == video.shape


@pytest.mark.slow
def test_one_program_for_each_shape():
    """A stream compiles its first piece and the later ones, and no more."""
    config = replace(OF_21, z_dim=2, latents_mean=(), latents_std=())
    weights, video = weights_of(config), video_of(config, 13)
    before = streams._encode._cache_size()
    state = fresh_encoder(config)
    for size in (slice(0, 1), slice(1, 5), slice(5, 9), slice(9, 13)):
        state, _ = encode_piece(config, weights, state, video[:, :, size])
    assert streams._encode._cache_size() == before + 2
    for _ in range(2):
        encode(config, weights, video)
    assert streams._encode._cache_size() == before + 3


def test_it_may_stand_inside_another_program():
    """There the state is an argument like others."""
    weights, video = weights_of(OF_21), video_of(OF_21, 5)
    begun, first = encode_piece(OF_21, weights, fresh_encoder(OF_21), video[:, :, :1])

    @jax.jit
    def go_on(weights, state, piece):
        state, latents = encode_piece(OF_21, weights, state, piece)
        return state, jnp.concatenate([first, latents], axis=2)

    whole = encode(OF_21, weights, video)
    assert_same(go_on(weights, begun, video[:, :, 1:])[1], whole)


@pytest.mark.slow
def test_gradients_pass_through_both_directions():
    """All weights but those that only noise would need can be trained."""
    video = video_of(OF_22, 5)

    @jax.jit
    @jax.grad
    def slope(weights):
        vae = bind(OF_22, weights)
        _, latents = vae.encode(vae.fresh_encoder, video)
        _, again = vae.decode(vae.fresh_decoder, latents)
        return jnp.mean(jnp.square(again - video))

    slopes = jax.tree.leaves(slope(weights_of(OF_22)))
    assert all(np.isfinite(x).all() and np.any(x) for x in slopes)
