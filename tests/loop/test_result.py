import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache import SampleResult, Stats

COMPUTED = np.array([True, True, False, False, True])


def stats(nonfinite=False):
    return Stats(
        jnp.asarray(COMPUTED),
        jnp.full(5, jnp.nan),
        jnp.int32(COMPUTED.sum()),
        jnp.asarray(nonfinite),
    )


def test_repr_draws_the_steps():
    """Steps are a strip, filled where the network ran, with their count."""
    assert repr(stats()) == "Stats(██··█ 3 of 5 steps ran the model)"


def test_repr_warns_of_non_finite_values():
    """NaNs and infinities are not left to be found by accident."""
    assert "NON-FINITE" in repr(stats(nonfinite=True))


def test_repr_of_a_result_gives_shapes():
    """A sample may be large: its repr holds shapes and dtypes, not numbers."""
    sample = {"video": jnp.zeros((1, 2, 3)), "action": jnp.zeros((1, 4), jnp.bfloat16)}
    shown = repr(SampleResult(sample, stats()))
    assert "float32[1, 2, 3]" in shown
    assert "bfloat16[1, 4]" in shown
    assert "██··█" in shown


def test_repr_of_what_holds_no_values():
    """Traced, batched and abstract results, and other trees, can be shown too."""
    result = SampleResult(jnp.zeros((1, 2)), stats())
    batched = jax.tree.map(lambda x: jnp.stack([x, x]), result)
    abstract = jax.eval_shape(lambda: result)
    axes = SampleResult(0, Stats(0, 0, 0, 0))
    seen = []
    jax.make_jaxpr(lambda r: seen.append(repr(r)) or r)(result)
    for shown in (repr(batched), repr(abstract), repr(axes), *seen):
        assert shown.startswith("SampleResult(")
        assert "Stats(" in shown


def test_repr_on_the_host():
    """Copied to the host, or taken out of a batch there, it is drawn all the same."""
    batched = jax.tree.map(lambda x: np.stack([x, x]), stats())
    one = jax.tree.map(lambda x: x[1], batched)
    assert repr(one) == repr(jax.device_get(stats())) == repr(stats())


def test_a_result_is_a_pytree():
    """It passes through `jit` and `tree.map`, statistics included."""
    result = jax.jit(lambda r: r)(SampleResult(jnp.zeros((1, 2)), stats()))
    assert result.stats.model_calls == 3
    assert result.stats.computed.tolist() == COMPUTED.tolist()
