"""The training forward gives the original's numbers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from jax_stepcache.models.dreamzero import DreamZeroConfig, bind
from jax_stepcache.models.dreamzero.network import teacher_forcing
from jax_stepcache.models.sizes.parameters import Weights

from . import recorded
from .cases import dreamzero_files, parametrize


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    cases, ids = [], []
    for file in dreamzero_files(metafunc.config, "*_train.npz"):
        params = recorded.params_beside(file, file.name.removesuffix("_train.npz"))
        for clean in (True, False):
            cases.append((params, file, clean))
            ids.append(f"dreamzero-{file.name}-{'clean' if clean else 'noisy'}")
    parametrize(metafunc, "params, file, clean", cases, ids)


def test_training_forward_matches_original(
    params: Path, file: Path, clean: bool
) -> None:
    """Under its mask, with clean frames and without, velocities are the original's."""
    config, weights = recorded.weights(params)
    arrays = recorded.arrays(file)
    expected = recorded.part(arrays, "out/" if clean else "out_notf/")
    with jax.default_matmul_precision("highest"):
        video, action = _forward(config, clean, weights, recorded.part(arrays, "in/"))
    recorded.assert_close("video", video, expected.pop("video"))
    recorded.assert_close("action", action, expected.pop("action"))
    assert not expected, f"recorded outputs that nothing was compared with: {expected}"


@partial(jax.jit, static_argnums=(0, 1))
def _forward(
    config: DreamZeroConfig, clean: bool, weights: Weights, given: dict[str, np.ndarray]
) -> tuple[jax.Array, jax.Array]:
    model = bind(config, weights)
    image = None if config.image_dim is None else given["clip"]
    return teacher_forcing.forward(
        model,
        given["x"],
        given["action"],
        given["state"],
        given["t_video"],
        given["t_action"],
        model.encode_context(given["context"], image),
        clean=given["clean_x"] if clean else None,
        y=given["y"] if config.concat_first_frame_latent else None,
    )
