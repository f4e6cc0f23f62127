"""A server: threads submit requests as they come, and share the slots of one loop."""

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp

import jax_stepcache

params = jax_stepcache.load_params("dit")  # digits, 8x8


def request(i: int) -> jax_stepcache.Request:
    """A digit."""
    return jax_stepcache.Request(
        observation={"label": jnp.array([i % 10])}, key=jax.random.key(i)
    )


# The example fixes the shapes, and compiles before the first request comes.
stream = jax_stepcache.serve(params, slots=4, cache="step_cache", example=request(0))
with jax_stepcache.Server(stream) as server, ThreadPoolExecutor(3) as clients:

    def ask(i: int) -> str:
        """What a client does: submit, wait, use the sample."""
        result = server.submit(request(i), deadline=60.0).result()
        image = params.model.decode(result.sample)["image"]
        return f"client {i}: {image.shape} {result.stats}"

    for line in clients.map(ask, range(8)):
        print(line)

    # A request that does not fit fails alone, in the thread that submitted it.
    try:
        server.submit(jax_stepcache.Request(observation={"label": jnp.array([11])}))
    except ValueError as error:
        print("refused:", error)
print(stream.network_calls, "network calls in all")
