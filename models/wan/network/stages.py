"""The transformer as a denoiser in stages: one, or one of two experts at each step.

Each row says by its timestep which expert it wants. An expert runs where some row wants
it; in a batch whose rows are at different steps both may, and each row takes its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from jax_stepcache.meshes.varying import cond

from ...layers.precision import at_least_float32
from ...layers.prompt_attention import Context
from ...sizes.parameters import Weights
from ..conditioning import with_first
from ..sizes import WanConfig
from .parameters import bind
from .transformer import Grid, Timed, WanTransformer, grid_of, spans_of

T = TypeVar("T")


class WanCondition(NamedTuple):
    """What a film is denoised under; arrays have a row for each of the sample's.

    Attributes:
        contexts: keys and values of the prompt, one `Context` for each transformer.
        beside: (B, channels, f, H, W) mask and condition that enter beside the latent,
            or None where the transformer takes none.
        first: (B, C, 1, H, W) latent of the first frame, which is given and not
            denoised; or None.
        low_scale: float32[B], the guidance scale of the low-noise expert; None for one
            transformer.
    """

    contexts: tuple[Context, ...]
    beside: jax.Array | None = None
    first: jax.Array | None = None
    low_scale: jax.Array | None = None


class Stage(NamedTuple):
    """What blocks and head read besides the tokens.

    Attributes:
        timed: what depends on the timesteps.
        contexts: see `WanCondition`.
        t: float32[B] timesteps.
        like: the sample, for its shape.
    """

    timed: Timed
    contexts: tuple[Context, ...]
    t: jax.Array
    like: jax.Array


class Experts(NamedTuple):
    """Which transformers there are. Static.

    Attributes:
        config: the sizes of each.
        names: of their weights, the high-noise expert's first; none for one alone,
            whose weights have no name before them.
        boundary: the timestep from which on, upwards, the first is asked.
        alone: the name of one whose steps these are, where the other is not there.
        in_step: whether all rows are always at one timestep.
    """

    config: WanConfig
    names: tuple[str, ...] = ()
    boundary: float = 0.0
    alone: str | None = None
    in_step: bool = False

    def ask(
        self,
        weights: Weights,
        t: jax.Array,
        run: Callable[[WanTransformer, int], T],
        otherwise: T | None = None,
    ) -> T:
        """Runs each row through the expert that it wants.

        Args:
            weights: of one transformer, or those of each by name.
            t: float32[B] timesteps.
            run: ``(transformer, its index) -> tree`` of [B, ...] arrays.
            otherwise: a tree like it that is there already, so that none need be made
                to stand in where nobody asks.

        Returns:
            What ``run`` returns, each row by its expert.
        """
        if not self.names:
            return run(bind(self.config, weights), 0)
        if self.alone is not None:
            return run(bind(self.config, weights[self.alone]), 0)
        wants_low = t < self.boundary

        def of(index: int) -> T:
            return run(bind(self.config, weights[self.names[index]]), index)

        if self.in_step:
            return cond(wants_low[0], lambda: of(1), lambda: of(0))
        nothing = otherwise
        if nothing is None:
            struct = jax.eval_shape(lambda: of(0))
            nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), struct)

        def mixed(high: T) -> T:
            def each(low: jax.Array, high: jax.Array) -> jax.Array:
                after = (1,) * (low.ndim - 1)
                return jnp.where(wants_low.reshape(-1, *after), low, high)

            return jax.tree.map(each, of(1), high)

        # Reuse what there is where nobody asks: two conds, and neither copies weights.
        high = cond((~wants_low).any(), lambda _: of(0), lambda x: x, nothing)
        return cond(wants_low.any(), mixed, lambda x: x, high)


def entering(sample: jax.Array, condition: WanCondition) -> jax.Array:
    """What the transformer is shown of a noisy latent (B, C, f, H, W)."""
    shown = sample
    if condition.first is not None:
        shown = with_first(sample, condition.first)
    if condition.beside is not None:
        beside = condition.beside.astype(sample.dtype)
        shown = jnp.concatenate([shown, beside], axis=1)
    return shown


def token_times(t: jax.Array, condition: WanCondition, frames: int) -> jax.Array:
    """Timesteps (B, rows) of tokens, see `Timed`: a given frame is free of noise."""
    if condition.first is None:
        return t[:, None]
    if frames == 1:
        return jnp.zeros_like(t)[:, None]
    return jnp.stack([jnp.zeros_like(t), t], axis=1)


def denoise(
    experts: Experts,
    weights: Weights,
    sample: jax.Array,
    t: jax.Array,
    condition: WanCondition,
    pinned: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """All stages at once, so that it is asked once who wants which expert.

    Args:
        experts: the transformers.
        weights: see `Experts.ask`.
        sample: (B, C, f, H, W) float32.
        t: float32[B] timesteps in [0, 1000].
        condition: of as many rows.
        pinned: puts tokens (B, L, D) where they go on a mesh.

    Returns:
        The velocity, like ``sample``, float32.
    """
    grid = grid_of(experts.config, sample.shape)
    through = _through(experts, sample, t, condition, pinned)

    def run(transformer: WanTransformer, index: int) -> jax.Array:
        tokens, timed = through(transformer, index)
        return transformer.decode(tokens, timed, grid)

    return experts.ask(weights, t, run)


def embed(
    experts: Experts,
    weights: Weights,
    sample: jax.Array,
    t: jax.Array,
    condition: WanCondition,
) -> tuple[jax.Array, Stage]:
    """Turns a noisy latent into tokens.

    Args:
        experts: the transformers.
        weights: see `Experts.ask`.
        sample: (B, C, f, H, W) float32.
        t: float32[B] timesteps in [0, 1000].
        condition: of as many rows.

    Returns:
        Tokens (B, f * h * w, D), and what the other stages read besides.
    """
    latent = entering(sample, condition)
    times = token_times(t, condition, sample.shape[2])

    def run(transformer: WanTransformer, index: int) -> tuple[jax.Array, Timed]:
        del index
        return transformer.embed(latent), transformer.embed_times(times)

    tokens, timed = experts.ask(weights, t, run)
    return tokens, Stage(timed, condition.contexts, t, sample)


def embed_through(
    experts: Experts,
    weights: Weights,
    sample: jax.Array,
    t: jax.Array,
    condition: WanCondition,
    stop: int,
    pinned: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """Embeds a latent and sends it through the first blocks, of one expert at once.

    Args:
        experts: the transformers.
        weights: see `Experts.ask`.
        sample: (B, C, f, H, W) float32.
        t: float32[B] timesteps in [0, 1000].
        condition: of as many rows.
        stop: the block to stop before.
        pinned: puts tokens (B, L, D) where they go on a mesh.

    Returns:
        Tokens (B, L, D).
    """
    through = _through(experts, sample, t, condition, pinned, stop)
    return experts.ask(weights, t, lambda *one: through(*one)[0])


def _through(
    experts: Experts,
    sample: jax.Array,
    t: jax.Array,
    condition: WanCondition,
    pinned: Callable[[jax.Array], jax.Array],
    stop: int | None = None,
) -> Callable[[WanTransformer, int], tuple[jax.Array, Timed]]:
    """From a transformer and its place to tokens before a block, and their times."""
    latent = entering(sample, condition)
    times = token_times(t, condition, sample.shape[2])
    grid = grid_of(experts.config, sample.shape)

    def run(transformer: WanTransformer, index: int) -> tuple[jax.Array, Timed]:
        timed = transformer.embed_times(times)
        tokens = pinned(transformer.embed(latent))
        context = condition.contexts[index]
        tokens = transformer.run_blocks(tokens, timed, context, grid, 0, stop)
        return tokens, timed

    return run


def blocks(
    experts: Experts,
    weights: Weights,
    tokens: jax.Array,
    stage: Stage,
    start: int,
    stop: int,
) -> jax.Array:
    """Sends tokens (B, L, D) through blocks ``start`` to ``stop - 1``."""
    grid = _grid(experts, stage)

    def run(transformer: WanTransformer, index: int) -> jax.Array:
        context = stage.contexts[index]
        return transformer.run_blocks(tokens, stage.timed, context, grid, start, stop)

    return experts.ask(weights, stage.t, run, tokens)


def head(
    experts: Experts, weights: Weights, tokens: jax.Array, stage: Stage
) -> jax.Array:
    """Reads the velocity (B, C, f, H, W) float32 off the last tokens."""
    grid = _grid(experts, stage)

    def run(transformer: WanTransformer, index: int) -> jax.Array:
        del index
        return transformer.decode(tokens, stage.timed, grid)

    return experts.ask(weights, stage.t, run)


def modulated(
    experts: Experts, weights: Weights, tokens: jax.Array, stage: Stage
) -> jax.Array:
    """Block 0's modulated input (B, L, D), of the embedded tokens."""
    grid = _grid(experts, stage)

    def run(transformer: WanTransformer, index: int) -> jax.Array:
        del index
        return transformer.modulated(tokens, stage.timed, grid)

    return experts.ask(weights, stage.t, run)


def times(experts: Experts, stage: Stage) -> dict[str, jax.Array]:
    """What the timestep becomes, each row in proportion to the tokens that have it.

    Means over rows are then means over tokens.
    """
    rows, grid = stage.timed.embedding.shape[1], _grid(experts, stage)
    counts = [n for count, n in spans_of(rows, grid) for _ in range(count)]
    share = jnp.asarray(counts, jnp.float32) * (len(counts) / sum(counts))
    embedding, modulation = (at_least_float32(x) for x in stage.timed)
    return {
        "embedding": embedding * share[None, :, None],
        "projection": modulation * share[None, :, None, None],
    }


def _grid(experts: Experts, stage: Stage) -> Grid:
    return grid_of(experts.config, stage.like.shape)
