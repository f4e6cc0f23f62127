"""Many thresholds at once: a policy's numbers are leaves, so they are mapped over."""

import jax
import jax.numpy as jnp

import jax_stepcache
from jax_stepcache.measure.metrics import psnr

params = jax_stepcache.load_params("dit")
digits = {"label": jnp.arange(10)}
exact = jax_stepcache.sample(params, observation=digits)
wanted = params.model.decode(exact.sample)["image"]

traces = []


@jax.jit
@jax.vmap
def swept(threshold: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Calls and decibels; traced once, whatever the number of thresholds."""
    traces.append(threshold)
    policy = jax_stepcache.step_cache(
        threshold[None], jnp.array([4]), forecast="linear"
    )
    result = jax_stepcache.sample(params, observation=digits, cache=policy)
    images = params.model.decode(result.sample)["image"]
    return result.stats.model_calls, psnr(wanted, images)


thresholds = jnp.array([0.8, 0.95, 0.98, 0.99, 0.995, 0.999])
for threshold, calls, decibels in zip(thresholds, *swept(thresholds), strict=True):
    print(f"cosine above {threshold:.3f}: {calls:2d} calls, {decibels:5.1f} dB")
print(f"{len(traces)} trace for {len(thresholds)} thresholds")
