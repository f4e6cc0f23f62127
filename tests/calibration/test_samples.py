"""Samples that are given, and some of them."""

import functools

import jax
import numpy as np

from jax_stepcache import load_params
from jax_stepcache.calibration.samples import make_samples


def test_some_samples_of_a_prepared_condition_have_the_rows_of_both_branches():
    """Keys and values lie behind the axis of layers, the other branch's rows behind
    those of all samples."""
    params = load_params("tabletop")
    shown = params.model.observation_struct(3)
    prepare = functools.partial(params.model.prepare, guided=True)
    rng = np.random.default_rng(0)
    prepared = jax.tree.map(
        lambda x: rng.integers(0, 9, x.shape).astype(x.dtype),
        jax.eval_shape(prepare, params.weights, shown),
    )
    noise = {
        name: np.zeros(x.shape, x.dtype)
        for name, x in params.model.noise_struct(3).items()
    }
    given = {"condition": prepared, "noise": noise}
    some = make_samples(params, None, given, None, {}).some([2, 0]).batch["condition"]
    rows = [2, 0, 5, 3]
    np.testing.assert_array_equal(some.cache.k, prepared.cache.k[:, np.array(rows)])
    np.testing.assert_array_equal(some.state, prepared.state[np.array(rows)])
