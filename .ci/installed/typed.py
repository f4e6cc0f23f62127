# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""A user's script: its types are known, and its typo is found."""

from typing import assert_type

import jax_stepcache

params = jax_stepcache.load_params("tabletop")
result = jax_stepcache.sample(params, cache="step_cache")
assert_type(result, jax_stepcache.SampleResult)
print(result.stats.model_calls)
jax_stepcache.smaple(params)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
