"""Twelve requests, no two alike, through four slots in one compiled loop."""

import jax
import jax.numpy as jnp

import jax_stepcache

params = jax_stepcache.load_params("dit")  # digits, 8x8


def request(i: int) -> jax_stepcache.Request:
    """A digit; some with fewer steps, a higher threshold or less guidance."""
    return jax_stepcache.Request(
        observation={"label": jnp.array([i % 10])},
        key=jax.random.key(i),
        num_inference_steps=(8, 16, 12)[i % 3],
        guidance_scale=1.5 if i % 2 else 3.0,
        cache_config={
            "velocity_sim_thresholds": [0.9 + 0.02 * (i % 4)],
            "velocity_skip_countdowns": [4],
        },
    )


requests = [request(i) for i in range(12)]
results = jax_stepcache.sample_many(params, requests, slots=4, cache="step_cache")
for i, result in enumerate(results):
    print(f"request {i:2d}", result.stats)

# Which request was in which slot at each call of the network.
print(jax_stepcache.timeline(results))
