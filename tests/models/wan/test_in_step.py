"""Experts that are asked one at a time, and what is kept meanwhile."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.loop import forward
from jax_stepcache.loop.program import sampled
from jax_stepcache.models.wan import WanModel
from jax_stepcache.options import options_of, resolve
from tests.jaxprs import primitives

from .small import LATENT, SMALL, TWO, noise, pair, params, text

TOKENS = LATENT[0] * (LATENT[1] // 2) * (LATENT[2] // 2)
WIDTH = SMALL.num_attention_heads * SMALL.attention_head_dim


@functools.partial(jax.jit, static_argnums=0)
def _said(model: WanModel, weights: Any, t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The velocity, whole and in stages of which the first is two at once."""
    condition = model.prepare(weights, text(2), False)
    whole = model.denoise(weights, noise(2), t, condition)
    _, stage = model.embed(weights, noise(2), t, condition)
    hidden = model.embed_through(weights, noise(2), t, condition, 1)
    hidden = model.blocks(weights, hidden, stage, 1, SMALL.num_layers)
    return whole, model.head(weights, hidden, stage)


@pytest.mark.slow
@pytest.mark.parametrize("t", [900.0, 100.0])
def test_rows_of_one_timestep_ask_one_expert(t: float) -> None:
    """In one conditional, and each says what it says beside the other."""
    weights, model = pair(TWO)
    times = jnp.full((2,), t)
    wanted, staged = _said(model, weights, times)
    np.testing.assert_allclose(staged, wanted, atol=1e-5)
    for said in _said(model.in_step(), weights, times):
        np.testing.assert_allclose(said, wanted, atol=1e-5)
    counts = [
        primitives(one.denoise, weights, noise(2), times, _condition(weights, model))
        for one in (model, model.in_step())
    ]
    assert [count["cond"] for count in counts] == [2, 1]


def _condition(weights: Any, model: WanModel) -> Any:
    return model.prepare(weights, text(2), False)


@pytest.mark.parametrize(
    ("cache", "settings", "kept"),
    [
        ("mag_cache", {"mag_ratios": [1.0] * 6, "mag_split_step": 2}, 0),
        # The tokens behind the first blocks, without which the others add nothing.
        ("cache_dit", {"max_warmup_steps": 1}, 1),
    ],
)
def test_what_is_kept_while_blocks_run(
    cache: str, settings: Any, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule: many tokens are made where the expert is asked, not handed to it.

    What enters a conditional lies in memory for as long as a branch of it runs.
    """
    monkeypatch.setattr(forward, "LARGE", 0)
    given = {"observation": text(1), "noise": noise(1), "num_inference_steps": 6}
    options = options_of(cache=cache, cache_config=settings, **given)
    generation = resolve(params(TWO), options)
    (gate,) = _gates(jax.make_jaxpr(sampled)(generation))
    asked = [_tokens(x) for x in _conditionals(list(gate.params.values()))]
    assert len(asked) >= 2
    assert sum(asked) == kept


def _gates(jaxpr: Any) -> list[Any]:
    """Conditionals that have others within."""
    found = _conditionals(jaxpr)
    return [x for x in found if any(_conditionals(list(x.params.values())))]


def _conditionals(tree: Any) -> list[Any]:
    found = []
    for one in jax.tree.leaves(tree, is_leaf=lambda x: hasattr(x, "eqns")):
        for equation in getattr(one, "eqns", ()):
            is_one = equation.primitive.name == "cond"
            found += [equation] if is_one else []
            found += _conditionals(list(equation.params.values()))
    return found


def _tokens(equation: Any) -> int:
    """How many arrays of all tokens it is given."""
    shapes = [x.aval.shape[-2:] for x in equation.invars]
    return shapes.count((TOKENS, WIDTH))
