"""Parts of the network against the rules, and what its sizes may be."""

from __future__ import annotations

from dataclasses import fields, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.checkpoints.weights import flat
from jax_stepcache.meshes.by_name import PlacedByName
from jax_stepcache.meshes.layout import layout_of
from jax_stepcache.models.sizes.rows import count_parameters
from jax_stepcache.models.wan_vae import (
    CONFIGS,
    WanVAEConfig,
    state_dict_shapes,
    weight_axes,
    weight_shapes,
)
from jax_stepcache.models.wan_vae.network.config import Factors
from jax_stepcache.models.wan_vae.network.rearranged import (
    averaged,
    copied,
    folded,
    unfolded,
)

from .small import KINDS, OF_21, OF_22, assert_same


def numbers(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_folding_has_the_original_order():
    """Channel slowest, then column offset, then row offset; and back."""
    x = numbers(1, 2, 4, 6, 3)
    y = np.asarray(folded(jnp.asarray(x), 2))
    for channel in range(3):
        for row in range(2):
            for column in range(2):
                place = channel * 4 + column * 2 + row
                assert_same(y[..., place], x[:, :, row::2, column::2, channel])
    assert_same(unfolded(jnp.asarray(y), 2), x)


@pytest.mark.parametrize("frames", [1, 4])
def test_averages_are_those_of_the_rule(frames):
    """Channels x (time, row, column), in groups; a zero frame stands before one."""
    x = numbers(1, frames, 4, 2, 3)
    got = np.asarray(averaged(jnp.asarray(x), 6, Factors(2, 2)))
    padded = np.concatenate([np.zeros_like(x[:, : frames % 2]), x], axis=1)
    for t in range(got.shape[1]):
        for row in range(2):
            cell = padded[0, 2 * t : 2 * t + 2, 2 * row : 2 * row + 2, 0:2]
            inside = np.moveaxis(cell, -1, 0).reshape(6, 4)
            assert_same(got[0, t, row, 0], inside.mean(axis=1))


@pytest.mark.parametrize("first", [True, False])
def test_copies_are_those_of_the_rule(first):
    """Each channel repeated, then spread over time, rows and columns."""
    x = numbers(1, 2, 3, 1, 4)
    got = np.asarray(copied(jnp.asarray(x), 2, Factors(2, 2), first))
    repeated = np.repeat(x, 4, axis=-1)
    wanted = np.zeros((1, 4, 6, 2, 2), np.float32)
    for out in range(2):
        for t in range(2):
            for row in range(2):
                for column in range(2):
                    source = ((out * 2 + t) * 2 + row) * 2 + column
                    wanted[:, t::2, row::2, column::2, out] = repeated[..., source]
    assert_same(got, wanted[:, 1:] if first else wanted)


@pytest.mark.parametrize(
    ("name", "parameters", "tensors"),
    [("wan-vae-2.1", 126_892_531, 194), ("wan-vae-2.2", 704_688_668, 196)],
)
def test_released_sizes(name, parameters, tensors):
    """As many tensors as the released files have, of as many numbers."""
    config = CONFIGS[name]
    for naming in ("original", "diffusers"):
        assert len(state_dict_shapes(config, naming)) == tensors
    assert count_parameters(weight_shapes(config)) == parameters
    assert len(config.latents_mean) == len(config.latents_std) == config.z_dim
    assert config.temporal_stride == 4
    assert config.spatial_stride == {"2.1": 8, "2.2": 16}[name[-3:]]


@pytest.mark.parametrize("config", [*CONFIGS.values(), *KINDS.values()])
def test_axes_of_weights_have_names(config):
    """Every kernel is cut by one axis where rules store it in parts."""
    mesh = jax.make_mesh((1, 1), ("data", "model"))
    layout = layout_of(mesh, "fsdp")
    assert layout is not None
    shapes = weight_shapes(config)
    placed = PlacedByName(layout, weight_axes, {})
    for name, where in flat(placed.shardings(shapes)).items():
        cut = [axis for axis in where.spec if axis is not None]
        of_latents = name.startswith("conv")
        assert cut == (["model"] if name.endswith("kernel") and not of_latents else [])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"dim": 0}, "dim"),
        ({"z_dim": True}, "z_dim"),
        ({"dim_mult": ()}, "dim_mult"),
        ({"dim_mult": (1, 0, 1)}, r"dim_mult\[1\]"),
        ({"temperal_downsample": (True,)}, "2 halvings"),
        ({"dim_mult": (1,) * 4, "temperal_downsample": (True,) * 3}, "at most two"),
        ({"latents_mean": (0.0,)}, "z_dim is 3"),
        ({"latents_std": (1.0, 0.0, 1.0)}, "positive"),
        ({"dtype": "float23"}, "float32"),
        ({"dim": 3, "dim_mult": (1, 1, 1)}, "even"),
    ],
)
def test_impossible_sizes_are_named(wrong, words):
    """The field, its value and what is allowed."""
    with pytest.raises(ValueError, match=words):
        replace(OF_21, **wrong)


@pytest.mark.parametrize("wrong", [{"dim": 4, "dim_mult": (1, 9, 2)}, {"dec_dim": 7}])
def test_shortcuts_need_widths_that_divide(wrong):
    """Averages and copies go in groups."""
    with pytest.raises(ValueError, match="divide"):
        replace(OF_22, **({"dim_mult": (1, 2, 3)} | wrong))


def test_options_are_read_by_name():
    """JSON's lists become tuples; of an unknown name the nearest one is told."""
    options = {field.name: getattr(OF_22, field.name) for field in fields(OF_22)}
    lists = {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}
    assert WanVAEConfig.from_dict(lists) == OF_22
    with pytest.raises(ValueError, match="temperal_downsample"):
        WanVAEConfig.from_dict({"temporal_downsample": [True]})
