"""Reading recorded runs of FLUX."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from jax_stepcache.models.flux import FluxConfig, import_state_dict
from jax_stepcache.models.flux.network.packing import packed

from .cases import parametrize, params_of, vectors_dir


class Network(NamedTuple):
    """A recorded transformer."""

    config: FluxConfig
    weights: dict[str, Any]


def files(config: pytest.Config, pattern: str) -> list[Path]:
    """Files of the ``flux`` part that match a glob pattern."""
    return sorted((vectors_dir(config) / "flux").glob(pattern))


def cases(metafunc: pytest.Metafunc, pattern: str, kinds: Any = None) -> None:
    """Makes a test of each file."""
    found = files(metafunc.config, pattern)
    ids = [f"flux-{file.name}" for file in found]
    parametrize(metafunc, "file", found, ids, kinds and [kinds] * len(found))


@functools.lru_cache(maxsize=2)
def load(file: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A file's arrays and its settings; prompts that were overwritten, as they were."""
    with np.load(file) as recorded:
        arrays = {name: recorded[name] for name in recorded.files}
    given = file.with_name("truecfg_inputs.npz")
    if given.exists():
        with np.load(given) as prompts:
            for name in prompts.files:
                if name.startswith(f"{file.stem}/"):
                    arrays[name.removeprefix(f"{file.stem}/")] = prompts[name]
    return arrays, json.loads(str(arrays.pop("config", "{}")))


@functools.lru_cache(maxsize=4)
def network(folder: Path, name: str) -> Network:
    """The transformer of a name, beside what was recorded of it."""
    file = params_of(folder, name)
    tensors = tensors_of(file)
    config = config_of(file)
    return Network(config, import_state_dict(config, tensors))


def tensors_of(file: Path) -> dict[str, np.ndarray]:
    """The tensors of a file of parameters."""
    with np.load(file) as recorded:
        return {n: recorded[n] for n in recorded.files if not n.startswith("__")}


def config_of(file: Path) -> FluxConfig:
    """The sizes that a file of parameters tells."""
    with np.load(file) as recorded:
        return FluxConfig.from_dict(json.loads(str(recorded["__config__"])))


def as_tokens(samples: Any) -> np.ndarray:
    """Latents (..., B, C, H, W) as packed tokens, the form of what was recorded."""
    samples = np.asarray(samples)
    flat = samples.reshape(-1, *samples.shape[-3:])
    tokens = np.asarray(packed(flat))
    return tokens.reshape(*samples.shape[:-3], *tokens.shape[1:])
