"""Low-rank adapters: small matrices that are trained beside frozen ones.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models". As in the
original DreamZero, the adapters sit on the blocks' attentions to video and text and on
their feed-forwards, and the small projectors of state and action are trained in full.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_IN_FULL = ("state_encoder", "action_encoder", "action_decoder")
_ADAPTED = (
    *(("self_attn", name) for name in ("q", "k", "v", "o")),
    *(("cross_attn", name) for name in ("q", "o")),
    *(("cross_attn", "text", name) for name in ("k", "v")),
    *(("ffn", name) for name in ("layer1", "layer2")),
)


def init_lora(weights: Any, rank: int, key: jax.Array) -> dict[str, Any]:
    """Makes what is trained; with it, the model is at first the one it was.

    Args:
        weights: the model's.
        rank: rank of every adapter, at least 1.
        key: draws the first factors; the second are zero.

    Returns:
        ``"adapters"``, by the name of the adapted matrix: ``a`` (layers, in, rank) and
        ``b`` (layers, rank, out), float32; and ``"full"``, copies of the projectors,
        float32.

    Raises:
        ValueError: for a rank below 1.
    """
    if rank < 1:
        raise ValueError(f"the rank of LoRA is {rank}; it must be at least 1")
    adapters = {}
    for path, one in zip(_ADAPTED, jax.random.split(key, len(_ADAPTED)), strict=True):
        layers, inside, outside = _kernel(weights, path).shape
        # Torch's default for a linear map, which the original leaves in place.
        bound = 1 / np.sqrt(inside)
        shape = (layers, inside, rank)
        adapters[".".join(path)] = {
            "a": jax.random.uniform(one, shape, jnp.float32, -bound, bound),
            "b": jnp.zeros((layers, rank, outside), jnp.float32),
        }
    full = {
        name: jax.tree.map(lambda x: jnp.array(x, jnp.float32), weights[name])
        for name in _IN_FULL
    }
    return {"adapters": adapters, "full": full}


def merge_lora(weights: Any, trained: Any, alpha: float) -> Any:
    """Weights with the adapters added in: ``W + alpha / rank * a @ b``.

    Args:
        weights: the frozen ones.
        trained: as from `init_lora`.
        alpha: the adapters' scale, times their rank.

    Returns:
        Weights of the same structure and dtypes.
    """
    merged = _copied(weights)
    for name, adapter in trained["adapters"].items():
        path = tuple(name.split("."))
        kernel = _kernel(weights, path)
        # In the weights' dtype: in another, the product is the largest array of all.
        scale = alpha / adapter["a"].shape[-1]
        a, b = (adapter[x].astype(kernel.dtype) for x in ("a", "b"))
        low_rank = (scale * a) @ b
        node = merged["blocks"]
        for key in path:
            node = node[key]
        node["kernel"] = kernel + low_rank.astype(kernel.dtype)
    return merged | _in_full(weights, trained)


def adapted_weights(weights: Any, trained: Any, alpha: float) -> Any:
    """Weights with the adapters beside the frozen kernels, as a network is bound to.

    The model is that of `merge_lora`, but what is frozen is neither copied nor has a
    gradient.

    Args:
        weights: the frozen ones.
        trained: as from `init_lora`.
        alpha: the adapters' scale, times their rank.

    Returns:
        Weights with an ``adapter`` beside each adapted kernel, see `Adapter`.
    """
    beside = _copied(weights)
    for name, adapter in trained["adapters"].items():
        node = beside["blocks"]
        for key in name.split("."):
            node = node[key]
        scale = alpha / adapter["a"].shape[-1]
        node["adapter"] = {"a": scale * adapter["a"], "b": adapter["b"]}
    return beside | _in_full(weights, trained)


def _in_full(weights: Any, trained: Any) -> dict[str, Any]:
    """The projectors, in the dtypes of the weights."""
    return {
        name: jax.tree.map(
            lambda new, old: new.astype(old.dtype), trained["full"][name], weights[name]
        )
        for name in _IN_FULL
    }


def _kernel(weights: Any, path: tuple[str, ...]) -> jax.Array:
    node = weights["blocks"]
    for name in path:
        node = node[name]
    return node["kernel"]


def _copied(tree: Any) -> Any:
    """The same arrays in dicts of their own."""
    return {k: _copied(v) if isinstance(v, dict) else v for k, v in tree.items()}
