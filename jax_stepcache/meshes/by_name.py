"""Where each weight of a model lies, by its name and the names of its axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import NamedSharding

from jax_stepcache.meshes.layout import Axes, Layout


@dataclass(frozen=True)
class PlacedByName:
    """Where each weight of a model lies.

    Attributes:
        layout: the mesh and the rules.
        axes: from a weight's name and number of axes to the names of these.
        sizes: how many there are of logical axes that have several numbers of each.
    """

    layout: Layout
    axes: Callable[[str, int], Axes]
    sizes: Mapping[str, int]

    def sharding(self, name: str, shape: tuple[int, ...]) -> NamedSharding:
        """Where a weight lies.

        Args:
            name: its name, with dots.
            shape: its shape.

        Returns:
            The sharding.

        Raises:
            ValueError: if the rules do not fit it.
        """
        axes = self.axes(name, len(shape))
        return self.layout.sharding(axes, shape, f"weight {name!r}", self.sizes)

    def shardings(self, weights: Any) -> Any:
        """Where all weights lie.

        Args:
            weights: pytree of arrays or of their structs.

        Returns:
            A sharding for each.

        Raises:
            ValueError: see `sharding`.
        """

        def of(path: Any, x: Any) -> NamedSharding:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            return self.sharding(name, x.shape)

        return jax.tree_util.tree_map_with_path(of, weights)
