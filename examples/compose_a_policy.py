"""A cache that nobody has named: a signal, a gate and a forecast around a span."""

import jax.numpy as jnp

import jax_stepcache
from jax_stepcache import Accumulate, LastStep, MaxConsecutive, ModulatedInput, WarmUp

params = jax_stepcache.load_params("dit")  # digits, 8x8
digits = {"label": jnp.arange(10)}

# Look at what TeaCache looks at. Let changes add up to 0.3, but never skip more than
# three steps in a row, nor one of the first two, nor the last. Reuse along a line.
policy = jax_stepcache.compose(
    signal=ModulatedInput(),
    gate=WarmUp(LastStep(MaxConsecutive(Accumulate(0.3), skips=3)), steps=2),
    forecast="linear",
    span="blocks",
)
mine = jax_stepcache.sample(params, observation=digits, cache=policy)
tea = jax_stepcache.sample(params, observation=digits, cache="tea_cache")
print(jax_stepcache.summary(mine, tea, names=["mine", "tea_cache"]))
