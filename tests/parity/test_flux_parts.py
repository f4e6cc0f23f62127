"""FLUX's encoders and autoencoder say what transformers' and diffusers' say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jax_stepcache.models import clip_text, flux_vae, umt5
from jax_stepcache.models.clip_text.checkpoint import released as clip_released
from jax_stepcache.models.flux_vae.checkpoint import released as vae_released
from jax_stepcache.models.umt5.checkpoint import released as t5_released

from .cases import parametrize, vectors_dir
from .recorded_wan import assert_close, highest

# Absolute, float32.
MOST = 1e-4


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    kind = {"clip": "clip*.npz", "t5": "t5*.npz", "vae": "vae*.npz"}[
        metafunc.function.__name__.split("_")[1]
    ]
    folder = vectors_dir(metafunc.config) / "flux_parts"
    found = sorted(folder.glob(kind))
    parametrize(metafunc, "file", found, [f"flux-{file.name}" for file in found])


def test_clip_is_transformers(file: Path) -> None:
    """Features of all tokens, and the vector of a text, by either kind of end token."""
    arrays, options, tensors = _read(file)
    config = clip_released.config_of_options(options)
    weights = clip_text.import_state_dict(config, tensors)
    said: Any = highest(lambda w, ids: clip_text.encode(config, w, ids))(
        weights, arrays["ids"].astype(np.int32)
    )
    assert_close("tokens", said.tokens, arrays["tokens"], MOST)
    assert_close("pooled", said.pooled, arrays["pooled"], MOST)


def test_t5_is_transformers(file: Path) -> None:
    """Blocks share one table of positions; FLUX sees what fills up, too."""
    arrays, options, tensors = _read(file)
    config = t5_released.config_of_options(options)
    config = umt5.UMT5Config.from_dict({**vars(config), "one_table": True})
    weights = umt5.import_state_dict(config, tensors)
    ids = arrays["ids"].astype(np.int32)
    said = highest(lambda w: umt5.encode(config, w, ids, np.ones_like(ids)))(weights)
    assert_close("tokens", said, arrays["tokens"], MOST)


def test_vae_names_are_diffusers(file: Path) -> None:
    """No tensor is missing, and none is left over."""
    _, options, tensors = _read(file)
    config = vae_released.config_of_options(options)
    shapes = {name: x.shape for name, x in tensors.items()}
    assert flux_vae.state_dict_shapes(config) == shapes


@pytest.mark.slow
def test_vae_is_diffusers(file: Path) -> None:
    """Mean and variance of pictures, and pictures of latents."""
    arrays, options, tensors = _read(file)
    config = vae_released.config_of_options(options)
    weights = flux_vae.import_state_dict(config, tensors)
    pictures = np.moveaxis(arrays["pictures"], 1, -1)

    @jax.jit
    def moments(weights: Any) -> Any:
        return flux_vae.bind(config, weights).moments(pictures)

    mean, log_variance = highest(moments)(weights)
    assert_close("mean", mean, arrays["mean"], MOST)
    assert_close("logvar", log_variance, arrays["logvar"], MOST)
    latents = (arrays["mean"] - config.shift_factor) * config.scaling_factor
    encoded = highest(lambda w: flux_vae.encode(config, w, pictures))(weights)
    assert_close("latents", encoded, latents, MOST)
    decoded = highest(lambda w: flux_vae.decode(config, w, arrays["latents"]))(weights)
    assert_close("decoded", np.moveaxis(decoded, -1, 1), arrays["decoded"], MOST)


def _read(file: Path) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, Any]]:
    """What was given and said, the configuration, and the weights."""
    with np.load(file) as recorded:
        arrays = {name: recorded[name] for name in recorded.files}
    options = json.loads(str(arrays.pop("config")))
    tensors = {n[2:]: x for n, x in arrays.items() if n.startswith("w/")}
    return {n: x for n, x in arrays.items() if n[:2] != "w/"}, options, tensors
