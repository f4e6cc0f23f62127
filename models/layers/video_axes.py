"""What the axes of a video transformer's weights and conditions are called."""

from __future__ import annotations

from typing import Any

import jax

from jax_stepcache.meshes.layout import Axes, Layout

from .logical_axes import Named

# Rows are those of both guidance branches, the conditional ones first.
ROWS = ("branch", "batch")
# Of keys and values, in the cache and of the prompt.
KEYS_VALUES: Axes = ("layers", ROWS, "frames", "heads", None)

# Megatron's cut: queries, keys, values and the first map of the feed-forward by their
# columns, the second maps by their rows, so that each pair needs one sum over devices.
VIDEO_WEIGHTS: tuple[Named, ...] = (
    (r"attn\.(?:\w+\.)?[qkv]\.kernel$", ("embed", "heads")),
    (r"attn\.(?:\w+\.)?[qkv]\.bias$", ("heads",)),
    (r"attn\.(?:\w+\.)?norm_[qk]\.scale$", ("heads",)),
    (r"attn\.o\.kernel$", ("heads", "embed")),
    (r"ffn\.layer1\.kernel$", ("embed", "mlp")),
    (r"ffn\.layer1\.bias$", ("mlp",)),
    (r"ffn\.layer2\.kernel$", ("mlp", "embed")),
    (r"(?:^|\.)(?:patch|text|time)_embedding\.(?:layer\d\.)?kernel$", (None, "embed")),
    (r"(?:^|\.)(?:time_projection|head\.proj)\.kernel$", ("embed", None)),
)


def condition_axes(name: str, ndim: int) -> Axes:
    """The logical axes of an array of a condition.

    Args:
        name: its name, with dots. Behind ``k`` or ``v`` may be the index of a layer.
        ndim: how many axes it has; keys and values of one layer have no layer axis.

    Returns:
        Its axes.
    """
    parts = [part for part in name.split(".") if not part.isdigit()]
    if parts and parts[-1] in ("k", "v"):
        return KEYS_VALUES[len(KEYS_VALUES) - ndim :]
    return (ROWS, *(None,) * (ndim - 1))


def constrained(layout: Layout | None, tree: Any) -> Any:
    """Pins arrays of a condition where the rules have them, inside `jax.jit`.

    Args:
        layout: None changes nothing.
        tree: arrays with rows: a condition, a context, tokens.

    Returns:
        The tree.
    """
    if layout is None:
        return tree

    def pinned(path: Any, x: Any) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        return layout.constrain(x, condition_axes(name, x.ndim))

    return jax.tree_util.tree_map_with_path(pinned, tree)
