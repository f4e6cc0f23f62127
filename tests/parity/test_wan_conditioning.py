"""Masks and condition latents are the originals' and diffusers'."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jax_stepcache.models.wan import conditioning as ours

from . import recorded_wan as recorded


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    begun = metafunc.function is test_first_frame_is_diffusers
    pattern = "loop_ti2v_i2v*.npz" if begun else "loop_*2v*.npz"
    recorded.cases(metafunc, pattern, without="loop*t2v*.npz")


def _as_rows(x: np.ndarray) -> np.ndarray:
    """The originals have no batch axis."""
    return x if x.ndim == 5 else x[None]


def _condition(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The condition's latent, of as many rows as the noise."""
    latent = _as_rows(arrays["in/vae_latent"])
    if "vae/mean" in arrays:
        mean, std = tuple(arrays["vae/mean"]), tuple(arrays["vae/std"])
        latent = np.asarray(ours.normalised(latent, mean, std))
    return latent.repeat(len(_as_rows(arrays["in/noise"])) // len(latent), 0)


def test_condition_is_the_originals(file: Path) -> None:
    """Mask and latent, beside the noise or as its first frame."""
    arrays, settings = recorded.load(file)
    latent = _condition(arrays)
    if "condition" not in arrays:
        # The original sets the first frame after each step.
        for x in map(_as_rows, arrays["x"]):
            np.testing.assert_allclose(ours.with_first(x, latent), x, atol=1e-5)
        return
    wanted = _as_rows(arrays["condition"])
    noise = _as_rows(arrays["in/noise"])
    if wanted.shape[2] == 1:
        got = latent
        shown = np.asarray(ours.with_first(noise, latent))
    else:
        got = ours.beside_latent(latent, 4, settings["last_image"])
        shown = np.concatenate([noise, got], axis=1)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    if "model_input0" in arrays:
        np.testing.assert_allclose(shown, arrays["model_input0"], rtol=1e-5, atol=1e-5)


def test_first_frame_is_diffusers(file: Path) -> None:
    """Which latent frames are denoised, and what stands in the first one's place."""
    arrays, _ = recorded.load(file)
    latent = arrays["in/noise"].shape[2:]
    np.testing.assert_array_equal(ours.free_frames(latent), arrays["first_frame_mask"])
    end = ours.with_first(arrays["x"][-1], _condition(arrays))
    np.testing.assert_allclose(end, arrays["out/latents"], rtol=1e-5, atol=1e-5)
