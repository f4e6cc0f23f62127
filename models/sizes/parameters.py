"""A network's weights: fresh ones, their shapes, and a network made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from jax_stepcache.checkpoints.layers import stacked_shape
from jax_stepcache.checkpoints.weights import differences, flat, require_fit

from ..layers.adapters import adapted, add_adapters

Weights = dict
"""Nested dict of arrays: module names, then parameter names; blocks are stacked."""

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of weights by name, with dots."""

Config = TypeVar("Config")
Network = TypeVar("Network", bound=nnx.Module)


def check_weights(given: Shapes, wanted: Shapes) -> None:
    """Compares weights with those that a network has.

    Raises:
        ValueError: naming every weight that is missing, extra or misshapen.
    """
    require_fit("the given weights", differences(given, wanted))


@dataclass(frozen=True)
class Parameters(Generic[Config, Network]):
    """The weights of a network that a configuration sizes.

    Attributes:
        network: makes one, ``network(config, rngs=rngs)``. Its class, as a rule.
        check: compares the shapes of given weights with the wanted ones; raises a
            ValueError where they differ.
    """

    network: Callable[..., Network]
    check: Callable[[Shapes, Shapes], None] = check_weights

    def init(self, config: Config, key: jax.Array) -> Weights:
        """Draws weights to train from scratch.

        Args:
            config: the network's; hashable.
            key: random key.

        Returns:
            Nested dict of float32 arrays; those of the blocks have a leading layer
            axis.
        """
        drawn = nnx.to_pure_dict(nnx.state(self.network(config, rngs=nnx.Rngs(key))))
        # Wider, if nobody said so, where JAX is told to have 64 bits.
        return jax.tree.map(lambda x: x.astype(jnp.float32), drawn)

    def shapes(self, config: Config) -> Weights:
        """Shapes of the weights, as ``jax.ShapeDtypeStruct``; nothing is allocated."""
        shapes = nnx.to_pure_dict(_structure(self.network, config)[1])
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float32), shapes
        )

    def bind(self, config: Config, weights: Weights) -> Network:
        """Makes a network of weights; cheap enough to call inside a jitted function.

        Args:
            config: the network's.
            weights: as from `init`; any floating dtype. Beside a kernel there may be
                an ``adapter`` with factors ``a`` and ``b``, see `Adapter`.

        Returns:
            The network.

        Raises:
            ValueError: if names or shapes are not those of the configuration.
        """
        given = {name: stacked_shape(leaf) for name, leaf in flat(weights).items()}
        graph, expected = _structure(self.network, config, adapted(given))
        wanted = flat(nnx.to_pure_dict(expected))
        self.check(given, {name: jnp.shape(leaf) for name, leaf in wanted.items()})
        return nnx.merge(graph, weights)


@lru_cache(maxsize=64)
def _structure(
    network: Callable[..., Any], config: Any, ranks: tuple[tuple[str, int], ...] = ()
) -> tuple[nnx.GraphDef, nnx.State]:
    def make() -> Any:
        made = network(config, rngs=nnx.Rngs(0))
        add_adapters(made, ranks)
        return made

    return nnx.split(nnx.eval_shape(make))
