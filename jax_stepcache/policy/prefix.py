"""Settings for some or all outputs: a tree that is a prefix of the sample's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from jax_stepcache.check import described


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
        raise ValueError(
            f"{what} is given as {described(prefix, is_leaf)}, which does not fit a "
            f"sample of {described(tree)}; give one for all outputs or one per output"
        ) from error
    return tuple(settings)
