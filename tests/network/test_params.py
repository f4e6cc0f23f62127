import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jax_stepcache import Params

from ..small_model import SmallModel, small_params


def test_leaves_are_weights_and_the_model_is_static():
    """Mapping over params maps the weights and keeps the model."""
    params = small_params()
    assert len(jax.tree.leaves(params)) == 2
    doubled = jax.tree.map(lambda x: 2 * x, params)
    assert isinstance(doubled, Params)
    assert doubled.model == SmallModel()
    np.testing.assert_array_equal(doubled.weights["in"], 2 * params.weights["in"])


def test_they_pass_through_jit():
    """A jitted function may take and return params."""
    params = small_params()
    through = jax.jit(lambda p: p)(params)
    assert through.model == params.model
    np.testing.assert_array_equal(through.weights["out"], params.weights["out"])


def test_they_pass_through_orbax(tmp_path):
    """A checkpoint of params restores to equal params."""
    params = small_params()
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "params", params)
        checkpointer.wait_until_finished()
        like = jax.tree.map(jnp.zeros_like, params)
        restored = checkpointer.restore(tmp_path / "params", like)
    assert isinstance(restored, Params)
    assert restored.model == params.model
    for ours, theirs in zip(*map(jax.tree.leaves, (restored, params)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_repr_counts_parameters():
    """The repr names the model and says how large it is, and prints no arrays."""
    assert repr(small_params()) == "Params(small, 48 parameters)"
