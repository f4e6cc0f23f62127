"""StepCache around a network of your own, in Flax NNX, which stays as it is."""

import jax
import jax.numpy as jnp
from flax import nnx

import jax_stepcache


class Velocity(nnx.Module):
    """A small network: what is the velocity of these points at this time?"""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.enter = nnx.Linear(2 + 8, 64, rngs=rngs)
        self.leave = nnx.Linear(64, 2, rngs=rngs)

    def __call__(self, points: jax.Array, t: jax.Array) -> jax.Array:
        """The velocity of each point."""
        angles = t[:, None] / 1000 * 2.0 ** jnp.arange(4)
        seen = jnp.concatenate([points, jnp.sin(angles), jnp.cos(angles)], axis=-1)
        return self.leave(nnx.silu(self.enter(seen)))


graph, weights = nnx.split(Velocity(nnx.Rngs(0)))


# Defined once: another function object would be another program to compile.
def velocity(weights, sample, t, condition):
    """What `sample` calls: t is 1000 * sigma, one number for each row."""
    del condition
    return nnx.merge(graph, weights)(sample, t)


noise = jax.random.normal(jax.random.key(1), (256, 2))
exact = jax_stepcache.sample(weights, model=velocity, noise=noise)
print("uncached            ", exact.stats)

for forecast in ("hold", "linear"):
    cached = jax_stepcache.sample(
        weights, model=velocity, noise=noise, cache="step_cache", forecast=forecast
    )
    error = jnp.abs(cached.sample - exact.sample).max()
    print(f"step_cache, {forecast:8s}", cached.stats, f"error {error:.4f}")
