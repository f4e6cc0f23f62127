"""DBCache inside a network of your own: given in stages, its middle is skipped."""

import jax
from flax import nnx

import jax_stepcache

DEPTH, CHANNELS, DIM = 6, 4, 32


class Block(nnx.Module):
    """A residual block that is told the time."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norm = nnx.LayerNorm(DIM, use_bias=False, use_scale=False, rngs=rngs)
        self.mlp = nnx.Linear(DIM, DIM, rngs=rngs)

    def __call__(self, hidden: jax.Array, time: jax.Array) -> jax.Array:
        """The tokens after the block."""
        return hidden + 0.1 * nnx.tanh(self.mlp(self.norm(hidden) * (1 + time)))


class Network(nnx.Module):
    """Tokens in, blocks, tokens out."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.enter = nnx.Linear(CHANNELS, DIM, rngs=rngs)
        self.time = nnx.Linear(1, DIM, rngs=rngs)
        self.blocks = nnx.List([Block(rngs) for _ in range(DEPTH)])
        self.leave = nnx.Linear(DIM, CHANNELS, rngs=rngs)


graph, weights = nnx.split(Network(nnx.Rngs(0)))


def embed(weights, sample, t, condition):
    """Makes the tokens, and what blocks read besides: here the time."""
    del condition
    network = nnx.merge(graph, weights)
    return network.enter(sample), network.time(t[:, None] / 1000)[:, None]


def blocks(weights, hidden, time, start, stop):
    """Runs some of the blocks."""
    for block in nnx.merge(graph, weights).blocks[start:stop]:
        hidden = block(hidden, time)
    return hidden


def head(weights, hidden, time):
    """Reads the velocity off the tokens."""
    del time
    return nnx.merge(graph, weights).leave(hidden)


model = jax_stepcache.StagedDenoiser(DEPTH, embed, blocks, head)
noise = jax.random.normal(jax.random.key(1), (4, 10, CHANNELS))
for settings in (
    {"Fn_compute_blocks": 1, "residual_diff_threshold": 0.1},
    {"Fn_compute_blocks": 2, "Bn_compute_blocks": 1, "enable_taylorseer": True},
):
    result = jax_stepcache.sample(
        weights, model=model, noise=noise, cache="cache_dit", cache_config=settings
    )
    print(settings)
    print("  the middle blocks:", result.stats)
