"""Each stranger, adapted, once for all tests: another object is another program."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jax_stepcache import adapt
from tests.network.adapting import strangers


class Case(NamedTuple):
    """A network, and what it is given."""

    weights: Any
    model: Any
    condition: Any


def _dit() -> Case:
    network = strangers.DiTLike()
    given = strangers.noise(), jnp.ones(2), strangers.text()
    variables = network.init(jax.random.key(0), *given)
    made = adapt(
        network,
        variables,
        call=lambda n, x, t, c: n(x, t / 1000, textcontext=c),
        blocks="dit_block_*",
        modulated="attention",
    )
    return Case(*made, strangers.text())


def pi0_velocity(pi0: Any, actions: Any, t: Any, condition: Any) -> Any:
    """As in docs/anyone/pi0.md."""
    observation, mask, begins, cache = condition
    tokens, own, own_begins, time = pi0.embed_suffix(observation, actions, t / 1000)
    both = jnp.concatenate([mask, own], axis=1)
    seen = strangers.make_attn_mask(both, jnp.concatenate([begins, own_begins]))
    (_, out), _ = pi0.PaliGemma.llm(
        [None, tokens],
        mask=seen[:, mask.shape[1] :],
        positions=(jnp.cumsum(both, axis=1) - 1)[:, mask.shape[1] :],
        kv_cache=cache,
        adarms_cond=[None, time],
    )
    return pi0.action_out_proj(out[:, -pi0.action_horizon :])


def pi0_observation() -> Any:
    """Tokens of a prefix, some of which are not there."""
    mask = jnp.ones((2, 5), bool).at[1, 3:].set(False)
    return jax.random.normal(jax.random.key(1), (2, 5, strangers.DIM)), mask


def _pi0() -> Case:
    network = strangers.Pi0Like(nnx.Rngs(0))
    made = adapt(network, call=pi0_velocity, blocks=lambda n: n.PaliGemma.llm.layers)
    observation = pi0_observation()
    tokens, mask, begins = network.embed_prefix(observation)
    seen = strangers.make_attn_mask(mask, begins)
    llm: Any = network.PaliGemma.llm
    places = jnp.cumsum(mask, axis=1) - 1
    _, cache = llm([tokens, None], mask=seen, positions=places)
    return Case(*made, (observation, mask, begins, cache))


def _pytree() -> Case:
    made = adapt(
        strangers.pytree_like(),
        call=lambda n, x, t, c: jax.vmap(n)(x, t, c),
        blocks=lambda n: n.layers,
        modulated=lambda block: block.attention,
    )
    return Case(*made, strangers.text())


def _wan(scan: bool) -> Case:
    made = adapt(
        strangers.WanLike(nnx.Rngs(0), scan_layers=scan),
        blocks=lambda n: n.blocks,
        modulated=lambda block: block.attn1,
    )
    return Case(*made, strangers.text())


_MADE = {
    "nnx list": lambda: _wan(False),
    "nnx scan": lambda: _wan(True),
    "linen": _dit,
    "linen scan": _pi0,
    "pytree": _pytree,
    "function": lambda: Case(
        *adapt(strangers.function_like, strangers.function_weights(), blocks="layers"),
        strangers.text(),
    ),
    "two streams": lambda: Case(
        *adapt(
            strangers.TwoStreams(nnx.Rngs(0)), blocks=lambda n: (n.double, n.single)
        ),
        strangers.text(),
    ),
    "two stacks": lambda: Case(
        *adapt(
            strangers.TwoStacks(nnx.Rngs(0)),
            blocks=lambda n: {"double": n.double, "single": n.single},
        ),
        strangers.text(),
    ),
}
KINDS = list(_MADE)


@functools.cache
def case(kind: str) -> Case:
    """The network of a kind."""
    return _MADE[kind]()
