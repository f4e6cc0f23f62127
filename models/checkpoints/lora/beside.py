"""LoRA kept beside weights: two small products more, and weights as they were."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from jax_stepcache.checkpoints.layers import is_apart, taken_apart
from jax_stepcache.checkpoints.streaming import Recipe
from jax_stepcache.checkpoints.weights import flat, nested
from jax_stepcache.meshes.beside import sharding_beside
from jax_stepcache.network.params import Params
from jax_stepcache.paths import as_path
from jax_stepcache.processes import gathered, put

from ..tensors import rows_of
from .file import COMPONENTS
from .fitting import Place
from .merging import Sums, changes, opened

_KERNEL = ".kernel"

_Pairs = dict[int, tuple[np.ndarray, np.ndarray]]


def keep_lora(
    params: Params,
    path: str | os.PathLike[str],
    *,
    scale: float = 1.0,
    component: str = COMPONENTS[0],
    strict: bool = True,
) -> Params:
    """Puts a LoRA beside weights, which stay as they are and are not copied.

    Each affine map that it changes has two factors beside its kernel, an `Adapter`, of
    the kernel's dtype and with the scale in them: another scale, or another file of the
    same ranks, runs the same compiled program, and a model without has none of it.
    Several are kept by calling again. What is no pair of factors of an affine map
    (biases, ``diff``, convolutions) is merged, see `merge_lora`.

    Args:
        params: see `merge_lora`, as are the others.
        path: likewise.
        scale: likewise.
        component: likewise.
        strict: likewise.

    Returns:
        The params, with ``adapter`` beside kernels. They are sampled as any; merge
        instead what is to be saved.

    Raises:
        FileNotFoundError: see `merge_lora`.
        ValueError: likewise.
        TypeError: likewise.
    """
    lora, fitted, plan = opened(params, as_path(path), scale, component, strict)
    weights = flat(params.weights)
    total = Sums(weights)
    pairs: dict[str, _Pairs] = {}
    for one in fitted:
        for place, tensor in changes(lora, one, lora.read(one.target), scale):
            if "down" in tensor and _is_affine(place):
                up = tensor.pop("up")[rows_of(place.recipe.convert)]
                pair = tensor.pop("down").T, up.T
                pairs.setdefault(place.weight, {})[place.source] = pair
            if tensor:
                total.add(place, tensor)
    where = sharding_beside(params.weights)
    for name, layers in pairs.items():
        kernel, recipe = weights[name], plan[name]
        apart = is_apart(kernel)
        dtype = (kernel[0] if apart else kernel).dtype
        before = name.removesuffix(_KERNEL) + ".adapter."
        for factor, made in zip("ab", _stacked(layers, recipe), strict=True):
            old = weights.get(before + factor)
            there = [] if old is None else [_on_host(old)]
            both = np.concatenate([*there, made], axis=-1 if factor == "a" else -2)
            new = put(both.astype(dtype), where)
            weights[before + factor] = taken_apart(new) if apart else new
    return Params(nested(weights, str(lora.path)), params.model)


def _is_affine(place: Place) -> bool:
    """Whether a weight is the kernel of an affine map, and nothing else."""
    named, recipe = place.weight.endswith(_KERNEL), place.recipe
    return named and recipe.parts == 1 and rows_of(recipe.convert) is not None


def _stacked(layers: _Pairs, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """The factors of all layers; of those without, and past a lower rank, zeros.

    Args:
        layers: ``a`` (in, rank) and ``b`` (rank, out) by layer.
        recipe: of the kernel.

    Returns:
        Both, float32, with a leading layer axis where the kernel has one.
    """
    if not recipe.stacked:
        return layers[0]
    rank = max(a.shape[1] for a, _ in layers.values())
    count, inside, outside = recipe.shape
    a = np.zeros((count, inside, rank), np.float32)
    b = np.zeros((count, rank, outside), np.float32)
    for layer, (first, second) in layers.items():
        a[layer, :, : first.shape[1]] = first
        b[layer, : second.shape[0]] = second
    return a, b


def _on_host(old: Any) -> np.ndarray:
    """An adapter's factor as one float32 array of the host."""
    if is_apart(old):
        return np.stack([np.asarray(gathered(x), np.float32) for x in old])
    return np.asarray(gathered(old), np.float32)
