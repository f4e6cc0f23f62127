"""Settings for some or all outputs: a tree that is a prefix of the sample's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax


def spread(
    prefix: Any, tree: Any, is_leaf: Callable[[Any], bool], what: str
) -> tuple[Any, ...]:
    """Gives each leaf of a tree its setting.

    Args:
        prefix: one setting for everything, or a tree of settings whose structure is a
            prefix of ``tree``'s (``{"video": a, "action": b}``).
        tree: any pytree.
        is_leaf: tells a setting from a tree of settings.
        what: what the settings are, for the error.

    Returns:
        One setting for each leaf of ``tree``, in leaf order.

    Raises:
        ValueError: if the settings do not fit the tree.
    """
    settings: list[Any] = []

    def give(setting: Any, part: Any) -> None:
        settings.extend([setting] * len(jax.tree.leaves(part)))

    try:
        jax.tree.map(give, prefix, tree, is_leaf=is_leaf)
    except ValueError as error:
        given = jax.tree.structure(prefix, is_leaf=is_leaf)
        raise ValueError(
            f"{what} is given as {given}, which does not fit a sample of structure "
            f"{jax.tree.structure(tree)}; give one for all outputs or one per output"
        ) from error
    return tuple(settings)
