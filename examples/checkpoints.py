"""Weights to disk and back, in another precision too."""

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jax_stepcache

params = jax_stepcache.load_params("dit")
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "mine"
    jax_stepcache.save_params(path, params)  # a folder of Orbax checkpoints
    print("written:", sorted(child.name for child in path.iterdir()))

    again = jax_stepcache.load_params(path)
    half = jax_stepcache.load_params(path, dtype="bfloat16")

same = jax.tree.map(np.array_equal, params.weights, again.weights)
print("the same weights:", all(jax.tree.leaves(same)))
print("the same model:", again.model == params.model)

digits = {"observation": {"label": jnp.arange(10)}, "cache": "step_cache"}
exact = jax_stepcache.sample(again, **digits)
rough = jax_stepcache.sample(half, **digits)
error = jnp.abs(rough.sample.astype(jnp.float32) - exact.sample).mean()
print(f"bfloat16: {rough.stats}, {error:.3f} off in the mean")
