"""What one does first with the library that one has installed."""

import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

import jax_stepcache


def main() -> None:
    """Samples the bundled models, saves one and loads it again."""
    place = Path(jax_stepcache.__file__)
    assert place.is_relative_to(sys.prefix), f"{place} is not the installed library"
    for name in ("tabletop", "film", "metaworld", "dit"):
        params = jax_stepcache.load_params(name)
        result = jax_stepcache.sample(params, cache="step_cache", num_inference_steps=4)
        assert 1 <= int(result.stats.model_calls) <= 4
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(result.sample))
        print(name, result.stats)
    with tempfile.TemporaryDirectory() as folder:
        jax_stepcache.save_params(f"{folder}/dit", params)
        again = jax_stepcache.load_params(f"{folder}/dit")
    assert again.model == params.model
    assert jax.tree.all(jax.tree.map(np.array_equal, again.weights, params.weights)), (
        "weights changed on disk"
    )


if __name__ == "__main__":
    main()
