"""LoRA merged into weights: the model is as large and as fast as without."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import check_flag, check_numbers
from jax_stepcache.checkpoints.layers import Layers, is_apart
from jax_stepcache.checkpoints.streaming import Recipe
from jax_stepcache.checkpoints.weights import flat, nested
from jax_stepcache.network.offered import offered
from jax_stepcache.network.params import Params
from jax_stepcache.paths import as_path

from .file import COMPONENTS, LoraFile
from .fitting import Fitted, Place, fit


def merge_lora(
    params: Params,
    path: str | os.PathLike[str],
    *,
    scale: float = 1.0,
    component: str = COMPONENTS[0],
    strict: bool = True,
    consume: bool = False,
) -> Params:
    """Adds a LoRA to weights: ``W + scale * alpha / rank * up @ down``.

    What a file adds to weights and biases as it is (``diff``, ``diff_b``) is added
    ``scale`` times. Sums are float32, rounded once to the weights' dtype.

    Args:
        params: weights and their model, whose package offers `tensor_plans`.
        path: the file, or a folder as PEFT and diffusers write it; of PEFT's and
            diffusers' key style, the original's, ComfyUI's or kohya's.
        scale: how much of it.
        component: of a pipeline with two transformers the one that is changed, be the
            file for both or for one: ``"transformer"`` or ``"transformer_2"``.
        strict: whether changes of parts that the model has not are an error; otherwise
            they are passed over, with a warning, as those of a pipeline's text encoders
            are in any case.
        consume: whether each weight that is changed is deleted once the new one is
            made, so that the device never holds all of them twice.

    Returns:
        The params; weights that are not changed are the same arrays.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: before any number is read, if it is no LoRA, or made for a model of
            another size or kind.
        TypeError: if ``params`` are none, or the model takes no LoRA.
    """
    check_flag("consume", consume)
    lora, fitted, _ = opened(params, as_path(path), scale, component, strict)
    weights = flat(params.weights)
    total = Sums(weights, consume=consume)
    for one in fitted:
        for place, tensor in changes(lora, one, lora.read(one.target), scale):
            total.add(place, tensor)
    return Params(nested(weights, str(lora.path)), params.model)


def check_lora(
    params: Params,
    path: str | os.PathLike[str],
    *,
    scale: float = 1.0,
    component: str = COMPONENTS[0],
) -> None:
    """Checks by a file's header whether it can be merged; no weights are needed.

    Args:
        params: of which only the model counts.
        path: see `merge_lora`; so are the following.
        scale: likewise.
        component: likewise.

    Raises:
        FileNotFoundError: as `merge_lora`; likewise ValueError and TypeError.
    """
    opened(params, as_path(path), scale, component, strict=True)


class Sums:
    """Weights to which changes are added one after the other.

    An array that was made here is overwritten by the next change of it, so a stack of
    layers is copied once and not once a layer.

    Attributes:
        weights: by name with dots; changed ones are replaced in it.
    """

    def __init__(self, weights: dict[str, Any], *, consume: bool = False):
        """Begins with weights as they are.

        Args:
            weights: by name with dots; is changed.
            consume: see `merge_lora`.
        """
        self.weights = weights
        self._consume = consume
        self._own: set[tuple[str, int | None]] = set()

    def add(self, place: Place, tensor: dict[str, np.ndarray]) -> None:
        """Adds what is changed of one tensor.

        Args:
            place: where the tensor is.
            tensor: see `changes`.
        """
        name, recipe = place.weight, place.recipe
        where = list(recipe.place(place.source)) if recipe.stacked else []
        weight = self.weights[name]
        if not is_apart(weight):
            self.weights[name] = self._sum((name, None), weight, where, tensor, recipe)
            return
        layer, rest = where[0], where[1:]
        layers = list(weight)
        layers[layer] = self._sum((name, layer), layers[layer], rest, tensor, recipe)
        self.weights[name] = Layers(layers)

    def _sum(
        self,
        key: tuple[str, int | None],
        array: Any,
        where: Sequence[int],
        tensor: dict[str, np.ndarray],
        recipe: Recipe,
    ) -> jax.Array:
        sharding = getattr(array, "sharding", None)
        add = _add_in_place if key in self._own else _add
        made = add(array, tuple(where), tensor, recipe.source_shape, recipe.convert)
        made = made if sharding is None else jax.device_put(made, sharding)
        if self._consume and key not in self._own and isinstance(array, jax.Array):
            jax.block_until_ready(made)
            array.delete()
        self._own.add(key)
        return made


def opened(
    params: Params,
    path: Path,
    scale: float,
    component: str,
    strict: bool,
) -> tuple[LoraFile, list[Fitted], dict[str, Recipe]]:
    """Opens a file and finds what it changes; see `merge_lora`.

    Returns:
        The file, its changes, and how the model's weights are made of tensors.
    """
    if not isinstance(params, Params):
        raise TypeError(f"params must be a Params, got {type(params).__name__}")
    check_numbers("scale", scale)
    check_flag("strict", strict)
    plans = offered(params.model, "tensor_plans")
    if plans is None:
        raise TypeError(f"{params.model.name} takes no LoRA: it offers no tensor_plans")
    lora = LoraFile(path, component)
    plans = plans(params.model, component)
    return lora, fit(lora, plans, strict=strict), dict(plans[0])


def changes(
    lora: LoraFile,
    one: Fitted,
    numbers: dict[str, np.ndarray],
    scale: float,
) -> list[tuple[Place, dict[str, np.ndarray]]]:
    """What is added to which tensors.

    Args:
        lora: the file.
        one: the change.
        numbers: its arrays by kind.
        scale: how much of it.

    Returns:
        For each tensor its place, and ``up`` (out, rank) and ``down`` (rank, in),
        whose product is of the tensor's numbers in their order, or ``sum``, of its
        shape; float32, scaled.
    """
    found = []
    as_float = {k: np.asarray(x).astype(np.float32) for k, x in numbers.items()}
    factor = scale * lora.factor(one.target, numbers) if "down" in numbers else scale
    if one.weight:
        added: dict[str, np.ndarray] = {}
        if "down" in as_float:
            down, up = as_float["down"], as_float["up"]
            added["down"] = down.reshape(len(down), -1) * np.float32(factor)
            added["up"] = up.reshape(-1, len(down))
        if "diff" in as_float:
            added["sum"] = as_float["diff"] * np.float32(scale)
        found.extend((place, dict(added)) for place in one.weight)
    if one.bias:
        shape = one.bias[0].recipe.source_shape
        total = np.zeros(shape, np.float32)
        for kind, by in (("diff_b", scale), ("up_bias", factor)):
            if kind in as_float:
                total += np.float32(by) * as_float[kind]
        found.extend((place, {"sum": total}) for place in one.bias)
    return found


def _plus(
    weight: jax.Array,
    place: tuple[int, ...],
    tensor: dict[str, jax.Array],
    shape: tuple[int, ...],
    convert: Callable[[Any], Any],
) -> jax.Array:
    total = jnp.zeros(shape, jnp.float32)
    if "down" in tensor:
        product = jnp.matmul(
            tensor["up"], tensor["down"], precision=jax.lax.Precision.HIGHEST
        )
        total = total + product.reshape(shape)
    if "sum" in tensor:
        total = total + tensor["sum"]
    part = convert(total)
    if not place:
        return (weight.astype(jnp.float32) + part).astype(weight.dtype)
    start = (*place, *(0,) * (weight.ndim - len(place)))
    size = (*(1,) * len(place), *weight.shape[len(place) :])
    old = jax.lax.dynamic_slice(weight, start, size)
    new = (old.astype(jnp.float32) + part.reshape(size)).astype(weight.dtype)
    return jax.lax.dynamic_update_slice(weight, new, start)


_STATIC = ("shape", "convert")
_add = functools.partial(jax.jit, static_argnames=_STATIC)(_plus)
_add_in_place = functools.partial(
    jax.jit, static_argnames=_STATIC, donate_argnames="weight"
)(_plus)
