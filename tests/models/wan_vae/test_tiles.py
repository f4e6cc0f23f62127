"""Tiles are the original's: each alone, and means where they overlap."""

from __future__ import annotations

import numpy as np
import pytest

from jax_stepcache.models.wan_vae import (
    Tiles,
    decode,
    decode_tiled,
    encode,
    encode_tiled,
)

from .small import (
    OF_22,
    OF_PICTURES,
    assert_same,
    latents_of,
    video_of,
    weights_of,
)

FOUR = Tiles(rows=3, columns=4, row_stride=2, column_stride=3)


def plain(one, x, tiles, inside, outside):
    """The rule in NumPy: starts, cuts, ramps, and the weighted mean."""
    height, width = x.shape[3] // inside, x.shape[4] // inside
    sides = (
        (height, tiles.rows, tiles.row_stride),
        (width, tiles.columns, tiles.column_stride),
    )
    starts = [
        [
            start
            for start in range(0, length, stride)
            if start == 0 or start - stride + size < length
        ]
        for length, size, stride in sides
    ]
    total, values = 0, 0
    for top in starts[0]:
        for left in starts[1]:
            cut = (
                slice(top * inside, (top + tiles.rows) * inside),
                slice(left * inside, (left + tiles.columns) * inside),
            )
            made = np.asarray(one(x[..., cut[0], cut[1]]))
            ramps = []
            for axis, start in ((0, top), (1, left)):
                length, size, stride = sides[axis]
                border = (size - stride) * outside
                ramp = np.ones(made.shape[3 + axis])
                for i in range(border):
                    if start > 0:
                        ramp[i] = (i + 1) / border
                    if start + size < length:
                        ramp[-1 - i] = (i + 1) / border
                ramps.append(ramp)
            weight = np.zeros((height * outside, width * outside))
            placed = np.zeros((*made.shape[:3], *weight.shape))
            there = (
                slice(top * outside, top * outside + made.shape[3]),
                slice(left * outside, left * outside + made.shape[4]),
            )
            weight[there] = np.minimum(ramps[0][:, None], ramps[1][None])
            placed[..., there[0], there[1]] = made
            values, total = values + placed * weight, total + weight
    return values / total


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("config", "frames"),
    [pytest.param(OF_PICTURES, 1, marks=SLOW), pytest.param(OF_22, 2, marks=SLOW)],
    ids=["2.1", "2.2"],
)
def test_tiles_of_latents_are_those_of_the_rule(config, frames):
    """Tiles that are smaller at the borders, and ramps at every cut."""
    weights = weights_of(config)
    latents = latents_of(config, frames, rows=4, columns=6)
    made = decode_tiled(config, weights, latents, FOUR)
    stride = config.spatial_stride
    wanted = plain(lambda x: decode(config, weights, x), latents, FOUR, 1, stride)
    assert_same(made, wanted)


@SLOW
@pytest.mark.parametrize("config", [OF_PICTURES, OF_22], ids=["2.1", "2.2"])
def test_tiles_of_videos_are_those_of_the_rule(config):
    """The same in the other direction, ramps being counted in latents."""
    weights, video = weights_of(config), video_of(config, 5, rows=4, columns=6)
    made = encode_tiled(config, weights, video, FOUR)
    stride = config.spatial_stride
    wanted = plain(lambda x: encode(config, weights, x), video, FOUR, stride, 1)
    assert_same(made, wanted)


@pytest.mark.slow
def test_a_tile_that_covers_all_is_the_whole():
    """Such is the default for small pictures."""
    weights, video = weights_of(OF_PICTURES), video_of(OF_PICTURES, 1)
    whole = encode(OF_PICTURES, weights, video)
    assert_same(encode_tiled(OF_PICTURES, weights, video), whole)
    assert_same(
        decode_tiled(OF_PICTURES, weights, whole), decode(OF_PICTURES, weights, whole)
    )


def test_tiles_without_overlap_are_put_side_by_side():
    """Where nothing overlaps there is nothing to blend."""
    weights, latents = (
        weights_of(OF_PICTURES),
        latents_of(OF_PICTURES, 1, rows=2, columns=2),
    )
    apart = decode_tiled(OF_PICTURES, weights, latents, Tiles(2, 1, 2, 1))
    left, right = (
        decode(OF_PICTURES, weights, latents[..., i : i + 1]) for i in (0, 1)
    )
    assert_same(apart, np.concatenate([left, right], axis=-1))


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"columns": 8}, {"row_stride": 35}])
def test_tiles_leave_no_gap(wrong):
    """The field is named."""
    with pytest.raises(ValueError, match=next(iter(wrong)).split("s")[0]):
        Tiles(**wrong)
