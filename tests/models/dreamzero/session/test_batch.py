"""Sessions side by side, put together and taken apart."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.models.dreamzero import split_sessions, stack_sessions

from ..robots import (
    assert_same_bits,
    observation,
    pipeline,
    prompts,
    robot,
    walk,
)

CLOSE = 1e-5


@pytest.mark.parametrize(
    "cache", [pytest.param("none", marks=pytest.mark.slow), "static"]
)
def test_robots_side_by_side_get_what_they_get_alone(cache: str) -> None:
    """Three sessions at three positions of the window, in one batch and one by one."""
    mask = {"steps_mask": np.arange(16) % 2 == 0} if cache == "static" else None
    pipe = pipeline(cache_backend=cache, cache_config=mask)
    texts = prompts(3)
    alone = [
        walk(pipe, pipe.start(*(t[i : i + 1] for t in texts)), list(range(i)))
        for i in range(3)
    ]
    assert [int(session.position[0]) for session in alone] == [0, 3, 5]
    together = stack_sessions(alone)
    for seed in (10, 11, 12):
        shown = observation(3, seed)
        side_by_side = pipe(together, shown)
        together = side_by_side.session
        for i, session in enumerate(alone):
            step = pipe(session, robot(shown, i))
            alone[i] = step.session
            ours = jax.tree.map(lambda x, i=i: x[i : i + 1], side_by_side[1:3])
            for a, b in zip(ours, step[1:3], strict=True):
                np.testing.assert_allclose(a, b, atol=CLOSE)
            assert bool(side_by_side.begins[i]) == bool(step.begins[0])
    for ours, session in zip(split_sessions(together), alone, strict=True):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=CLOSE), ours, session
        )


@given(order=st.permutations(range(3)))
def test_sessions_are_put_together_and_taken_apart(order: list[int]) -> None:
    """Stacking and splitting are inverses, in any order."""
    pipe = pipeline()
    texts = prompts(3)
    alone = [pipe.start(*(t[i : i + 1] for t in texts)) for i in order]
    parts = split_sessions(stack_sessions(alone))
    assert_same_bits(parts, alone)
    assert_same_bits(stack_sessions(parts[:1]), alone[0])


def test_sessions_of_different_models_do_not_stack() -> None:
    """Nor do those with guidance and those without."""
    session = pipeline().start(*prompts(1))
    other = session._replace(text=session.text[:, :2])
    with pytest.raises(ValueError, match="different models"):
        stack_sessions([session, other])
    alone = pipeline(guidance_scale=1.0).start(prompts(1)[0])
    with pytest.raises(ValueError, match="guided and some are not"):
        stack_sessions([session, alone])
    with pytest.raises(ValueError, match="at least one"):
        stack_sessions([])
