"""Sizes: the released ones are counted out, and what cannot run is refused."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest

from jax_stepcache.models.wan import (
    RELEASES,
    WanConfig,
    WanModel,
    config_of,
    model_from_config,
    model_of,
    weight_shapes,
)
from jax_stepcache.models.wan.calibrated import calibrated

from .small import ONE, SMALL, TWO

# Of one transformer, as published.
PARAMETERS = {
    "wan2.1-t2v-1.3b": 1_418_996_800,
    "wan2.1-t2v-14b": 14_288_491_584,
    "wan2.1-i2v-14b-480p": 16_394_878_784,
    "wan2.1-i2v-14b-720p": 16_394_878_784,
    "wan2.1-flf2v-14b": 16_395_536_704,
    "wan2.2-ti2v-5b": 4_999_787_712,
    "wan2.2-t2v-a14b": 14_288_491_584,
    "wan2.2-i2v-a14b": 14_288_901_184,
}


@pytest.mark.parametrize("name", RELEASES)
def test_parameters_are_those_published(name: str) -> None:
    """Each release has exactly as many numbers as its checkpoint."""
    shapes = jax.tree.leaves(weight_shapes(RELEASES[name].transformer))
    assert sum(np.prod(x.shape) for x in shapes) == PARAMETERS[name]


@pytest.mark.parametrize(
    ("name", "latent"),
    [
        ("wan2.1-t2v-1.3b", (21, 60, 104)),
        ("wan2.2-ti2v-5b", (31, 44, 80)),
        ("wan2.2-t2v-a14b", (21, 90, 160)),
    ],
)
def test_latents_follow_the_vae(name: str, latent: tuple[int, int, int]) -> None:
    """A release's film has the latent that its VAE makes of it."""
    assert model_of(RELEASES[name]).latent_size == latent


@pytest.mark.parametrize(
    ("size", "frames", "said"),
    [
        ((480, 832), 82, "one more than a multiple of 4, got 82"),
        ((488, 832), 81, "multiples of 16 and 16, got 488 and 832"),
    ],
)
def test_sizes_that_do_not_divide(
    size: tuple[int, int], frames: int, said: str
) -> None:
    """Bad sizes are named before anything is loaded."""
    with pytest.raises(ValueError, match=said):
        model_of(RELEASES["wan2.1-t2v-1.3b"], size, frames)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attention_head_dim": 7}, "even and at least 6"),
        ({"in_channels": 1}, "in_channels must be at least"),
        ({"added_kv_proj_dim": 16}, "added_kv_proj_dim must be None"),
        ({"image_dim": 4}, "added_kv_proj_dim must be 16"),
        ({"pos_embed_seq_len": 4}, "image_dim is None"),
        ({"attention": "flash"}, "unknown attention 'flash'"),
        ({"num_layers": 0}, "num_layers must be an integer >= 1"),
    ],
)
def test_configurations_that_could_not_run(change: dict, said: str) -> None:
    """The field is named, and what is allowed."""
    with pytest.raises(ValueError, match=said):
        replace(SMALL, **change)


def test_options_of_diffusers() -> None:
    """Those without effect are passed over, others than ours refused, typos named."""
    assert WanConfig.from_dict({"rope_max_seq_len": 9, "ffn_dim": 8}).ffn_dim == 8
    with pytest.raises(ValueError, match="qk_norm must be 'rms_norm_across_heads'"):
        WanConfig.from_dict({"qk_norm": "layer_norm"})
    with pytest.raises(ValueError, match="num_layers"):
        WanConfig.from_dict({"num_layer": 3})


def test_a_model_survives_its_description() -> None:
    """What is written into a checkpoint's header makes the same model."""
    model = WanModel(TWO, (2, 2, 4))
    assert model_from_config(config_of(model)) == model


def test_what_was_published_for_caches() -> None:
    """Ratios come in pairs, one for each step of a release; 5 coefficients each."""
    for name, release in RELEASES.items():
        found = calibrated(release, "original_mag_cache")
        if name != "wan2.1-flf2v-14b":
            steps = release.num_inference_steps
            assert len(found["mag_ratios"]) == 2 * steps, name
        assert bool(found.get("spares_high")) == (name == "wan2.2-i2v-a14b")
        for variant in ("", "_ret"):
            tea = calibrated(release, f"original_tea_cache{variant}")
            assert len(tea.get("coefficients", range(5))) == 5
    assert not calibrated(ONE, "tea_cache")
