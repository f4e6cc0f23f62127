"""Patches: which number goes where."""

import jax.numpy as jnp
import numpy as np

from jax_stepcache.models.layers.patches import (
    patchify,
    patchify_video,
    unpatchify,
    unpatchify_video,
)


def test_a_picture_is_cut_as_a_convolution_reads_it():
    """Row by row; in a patch channels are slowest, then its rows."""
    x = np.arange(4 * 6 * 3).reshape(1, 4, 6, 3)
    patches = patchify(jnp.asarray(x), 2)
    assert patches.shape == (1, 6, 12)
    second = x[0, 0:2, 2:4].transpose(2, 0, 1).ravel()
    np.testing.assert_array_equal(patches[0, 1], second)


def test_a_picture_is_put_together_with_channels_fastest():
    """As the published heads write it, which is not how `patchify` cuts."""
    x = np.arange(4 * 4 * 3).reshape(1, 4, 4, 3)
    cut = np.stack([x[0, r : r + 2, c : c + 2].ravel() for r in (0, 2) for c in (0, 2)])
    np.testing.assert_array_equal(unpatchify(jnp.asarray(cut[None]), 2), x)


def test_a_video_is_cut_frame_by_frame():
    """Tokens of a frame follow each other; in a patch channels are slowest."""
    x = np.arange(2 * 3 * 4 * 6).reshape(1, 2, 3, 4, 6)
    patches = patchify_video(jnp.asarray(x), (1, 2, 3))
    assert patches.shape == (1, 3 * 2 * 2, 2 * 2 * 3)
    last = x[0, :, 2, 2:4, 3:6].ravel()
    np.testing.assert_array_equal(patches[0, -1], last)


def test_a_video_is_put_together_with_channels_fastest():
    """Each token becomes the patch at its place in the grid."""
    x = np.arange(2 * 3 * 4 * 6).reshape(1, 2, 3, 4, 6)
    cut = [
        x[0, :, f, r : r + 2, c : c + 3].transpose(1, 2, 0).ravel()
        for f in range(3)
        for r in (0, 2)
        for c in (0, 3)
    ]
    together = unpatchify_video(jnp.asarray(np.stack(cut)[None]), (3, 2, 2), (1, 2, 3))
    np.testing.assert_array_equal(together, x)
