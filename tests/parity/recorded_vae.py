"""Reading recorded runs of Wan's VAEs, and watching ours part by part."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.models.sizes.parameters import Weights
from jax_stepcache.models.wan_vae import WanVAEConfig, bind, import_state_dict
from jax_stepcache.models.wan_vae.network.rearranged import folded
from jax_stepcache.models.wan_vae.network.vae import denormalised

from .cases import vectors_dir

# Absolute, float32: of latents and frames, and of what lies between.
TOLERANCE = 2e-4
WITHIN = 1e-3
PREFIX = "w/model."


class Recorded(NamedTuple):
    """A file: its arrays, and the network that made them."""

    arrays: dict[str, np.ndarray]
    config: WanVAEConfig
    weights: Weights


def vae_files(config: pytest.Config) -> list[Path]:
    """Files of the VAEs, in the ``encoders`` part."""
    return sorted((vectors_dir(config) / "encoders").glob("vae*.npz"))


@functools.lru_cache(maxsize=2)
def load(file: Path) -> Recorded:
    with np.load(file) as recorded:
        arrays = {name: recorded[name] for name in recorded.files}
    options = json.loads(str(arrays["__config__"]))
    for name, ours in (("mean", "latents_mean"), ("std", "latents_std")):
        options[ours] = arrays[name].tolist()
    config = WanVAEConfig.from_dict(options)
    return Recorded(arrays, config, import_state_dict(config, tensors(arrays)))


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state dict, under the original's names."""
    return {
        name.removeprefix(PREFIX): array
        for name, array in arrays.items()
        if name.startswith("w/")
    }


def case_names(file: Path) -> list[str]:
    """What was encoded and decoded whole; the stream is another test's."""
    with np.load(file) as recorded:
        names = [name.split("/") for name in recorded.files]
    found = {case for case, *rest in names if rest == ["latent"]} - {"stream"}
    return sorted(found)


def has(file: Path, beginning: str) -> bool:
    """Whether a file has arrays of such names."""
    with np.load(file) as recorded:
        return any(name.startswith(beginning) for name in recorded.files)


def assert_close(what: str, ours: Any, theirs: np.ndarray, most: float) -> None:
    """Shapes agree, and all values to the tolerance."""
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape, f"{what}: {ours.shape}, not {theirs.shape}"
    error = np.max(np.abs(ours - theirs))
    assert error <= most, f"{what}: max error {error:.2e}"


def pieces_of(array: np.ndarray, first: int, later: int) -> Iterator[np.ndarray]:
    """(B, C, T, H, W) cut in time: the first frames, then so many each."""
    yield array[:, :, :first]
    for start in range(first, array.shape[2] - later + 1, later):
        yield array[:, :, start : start + later]


def outside(x: Any) -> np.ndarray:
    """(B, T, h, w, C) as (B, C, T, h, w)."""
    return np.moveaxis(np.asarray(x), -1, 1)


class Watched(NamedTuple):
    """A coder walked through: by the original's names, what each part gave."""

    outputs: dict[str, np.ndarray]
    slots: Any


@functools.partial(jax.jit, static_argnames=("config", "coder"))
def _walk(
    config: WanVAEConfig, coder: str, weights: Weights, x: jax.Array, slots: Any
) -> tuple[dict[str, jax.Array], Any]:
    """One piece; (B, C, T, H, W) in the original's layout."""
    vae = bind(config, weights)
    x = jnp.moveaxis(x, 1, -1)
    if coder == "encoder":
        x = folded(x, config.fold)
    else:
        x = vae.conv2(denormalised(config, x))
    seen, kept = {}, []
    for name, part, slot in _named(config, getattr(vae, coder), coder, slots):
        if isinstance(name, list):  # A level whose parts the original counts through.
            inner = []
            for one, block, held in zip(name, part.parts, slot, strict=True):
                x, after = block(x, held)
                seen[one] = x
                inner.append(after)
            after = tuple(inner)
        else:
            x, after = part(x, slot)
            seen[name] = x
        kept.append(after)
    seen[coder] = seen.pop("head")
    return seen, tuple(kept)


def _named(config: WanVAEConfig, coder: Any, what: str, slots: Any) -> Iterator[Any]:
    """The parts with the original's names; a list of names for a level of Wan 2.1."""
    side = "downsamples" if what == "encoder" else "upsamples"
    levels, blocks, middle = 0, 0, 0
    for part, slot in zip(coder.parts, slots, strict=True):
        kind = type(part).__name__
        if kind == "CausalConv":
            name: Any = f"{what}.conv1"
        elif kind == "Head":
            name = "head"
        elif kind.endswith("Level") and config.residual:
            name, levels = f"{what}.{side}.{levels}", levels + 1
        elif kind.endswith("Level"):
            count = len(part.parts)
            name = [f"{what}.{side}.{blocks + i}" for i in range(count)]
            blocks += count
        else:
            name, middle = f"{what}.middle.{middle}", middle + 1
        yield name, part, slot


def walk(recorded: Recorded, coder: str, x: np.ndarray, slots: Any = None) -> Watched:
    """Goes through a coder with one piece.

    Args:
        recorded: the network.
        coder: ``"encoder"`` or ``"decoder"``.
        x: (B, C, T, H, W), frames or latents.
        slots: from the piece before; None where the stream begins.

    Returns:
        What each part gave, and the slots.
    """
    if slots is None:
        slots = getattr(bind(recorded.config, recorded.weights), coder).fresh
    seen, slots = _walk(recorded.config, coder, recorded.weights, x, slots)
    return Watched({name: outside(y) for name, y in seen.items()}, slots)
