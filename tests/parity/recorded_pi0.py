"""Reading recorded runs of pi0 and pi0.5."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.models import pi0
from jax_stepcache.network.params import Params

from .cases import parametrize, params_of, vectors_dir


class Run(NamedTuple):
    """A recorded `sample_actions`.

    Attributes:
        arrays: what was recorded.
        params: of the network that was run.
        num_steps: Euler steps.
    """

    arrays: dict[str, np.ndarray]
    params: Params
    num_steps: int

    @property
    def observation(self) -> dict[str, Any]:
        """What the network was shown."""
        shown: dict[str, Any] = {"image": {}, "image_mask": {}}
        for name, array in self.arrays.items():
            if name.startswith("obs/"):
                *inside, last = name.split("/")[1:]
                (shown[inside[0]] if inside else shown)[last] = jnp.asarray(array)
        return shown


def cases(metafunc: pytest.Metafunc, trained: bool) -> None:
    """Makes a test of each run, or of each that a loss was recorded of."""
    found = sorted((vectors_dir(metafunc.config) / "pi0").glob("pi0*_n*.npz"))
    if trained:
        found = [file for file in found if _has_loss(file)]
    parametrize(metafunc, "file", found, [f"pi0-{file.name}" for file in found])


def _has_loss(file: Path) -> bool:
    with np.load(file) as recorded:
        return "train/loss" in recorded.files


@functools.lru_cache(maxsize=2)
def load(file: Path) -> Run:
    """A run, and the network beside it."""
    with np.load(file) as recorded:
        arrays = {name: recorded[name] for name in recorded.files}
    settings = json.loads(str(arrays.pop("config")))
    name = "pi05" if settings["pi05"] else "pi0"
    return Run(arrays, network(file.parent, name), settings["num_steps"])


@functools.lru_cache(maxsize=2)
def network(folder: Path, name: str) -> Params:
    """The network of a name."""
    file = params_of(folder, name)
    with np.load(file) as recorded:
        arrays = {n: recorded[n] for n in recorded.files if not n.startswith("__")}
        said = json.loads(str(recorded["__config__"]))
    vision = dict(said["siglip"])
    rows, columns = vision.pop("patch_size")
    assert rows == columns
    config = pi0.Pi0Config(
        pi05=said["pi05"],
        vision=pi0.VisionConfig(patch_size=rows, **vision),
        gemma=pi0.GemmaConfig(**said["gemma_2b"]),
        expert=pi0.GemmaConfig(**said["gemma_300m"]),
        **{
            name: said[name]
            for name in ("vocab", "action_dim", "action_horizon", "max_token_len")
        },
    )
    weights = pi0.import_arrays(config, {n: jnp.asarray(x) for n, x in arrays.items()})
    return Params(weights, pi0.Pi0Model(config))
