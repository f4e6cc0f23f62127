"""A robot's session: what DreamZero remembers from one control step to the next.

A session walks through windows of latent frames. A window begins with one frame; each
control step then reads the frames that have been observed since the last one into the
KV cache, and imagines the next ones. Full windows begin anew, as does one whose prompt
has changed. Everything here is a pure function over a pytree of fixed shapes, so one
compiled program serves every position in the window, and sessions at different ones
side by side.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.meshes.layout import Layout
from jax_stepcache.network.guidance import stack_branches

from ...layers.attention import KeysValues
from ..network.attention import Context
from ..network.kv_cache import KVCache
from ..network.logical_axes import constrained
from ..network.parameters import bind
from ..network.published import Size
from ..network.stages import DreamZeroCondition
from ..network.transformer import CausalWanModel
from .observation import Observation, begins_window


class Session(NamedTuple):
    """The state of B robots. Rows are B, or under guidance 2 B, the conditional first.

    Attributes:
        position: int32[B], latent frames of the window that are past or imagined, the
            original's ``current_start_frame``: 0 before the first control step.
        text: (rows, text_len, text_dim) encoded prompts, and the negative ones.
        context: keys and values of prompt and first image, of all rows.
        cache: keys and values of the observed frames, of all rows.
        y: (B, y_dim, window, H, W) conditioning latents of the window, or None where
            the model takes none.
    """

    position: jax.Array
    text: jax.Array
    context: Context
    cache: KVCache
    y: jax.Array | None

    @property
    def batch(self) -> int:
        """How many robots."""
        return self.position.shape[0]

    @property
    def guided(self) -> bool:
        """Whether there are rows of the unconditional branch."""
        return self.text.shape[0] == 2 * self.batch


class Observed(NamedTuple):
    """What a control step goes on with once the frames are in the cache.

    Attributes:
        session: moved on to the end of the block that is now imagined.
        state: (rows, num_state_per_block, max_state_dim).
        y: (rows, y_dim, frames of a block, H, W) of that block, or None.
        begins: bool[B], which robots began a window.
        first: (B, C, 1, H, W) the first frame, where they did.
    """

    session: Session
    state: jax.Array
    y: jax.Array | None
    begins: jax.Array
    first: jax.Array

    @property
    def condition(self) -> DreamZeroCondition:
        """What the next block is denoised under."""
        return DreamZeroCondition(
            self.session.context, self.session.cache, self.state, self.y
        )


def session_struct(size: Size, batch: int, guided: bool) -> Session:
    """Shapes and dtypes of a session; nothing is allocated."""
    c = size.dit
    struct: Any = jax.ShapeDtypeStruct
    rows = 2 * batch if guided else batch

    def keys_values(tokens: int) -> KeysValues:
        one = struct((c.num_layers, rows, tokens, c.num_heads, c.head_dim), c.dtype)
        return KeysValues(one, one)

    # A window's last frames are imagined, and never read from the cache.
    cache = keys_values((c.window - c.num_frame_per_block) * c.frame_seqlen)
    y = (batch, c.y_dim, c.window, *size.latent_size)
    return Session(
        position=struct((batch,), jnp.int32),
        text=struct((rows, c.text_len, c.text_dim), jnp.float32),
        context=Context(
            keys_values(c.text_len),
            None if c.image_dim is None else keys_values(c.image_len),
        ),
        cache=KVCache(cache.k, cache.v, struct((rows,), jnp.int32)),
        y=struct(y, jnp.float32) if c.concat_first_frame_latent else None,
    )


def start(
    size: Size, weights: Any, text: jax.Array, negative: jax.Array | None
) -> Session:
    """Begins sessions: encodes the prompts, and allocates the rest.

    Args:
        size: of the model.
        weights: its weights.
        text: (B, text_len, text_dim) encoded prompts.
        negative: like ``text``, for the unconditional branch; None without guidance.

    Returns:
        The sessions, at position 0.
    """
    struct = session_struct(size, len(text), negative is not None)
    empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), struct)
    # Whatever the prompts are, they are new.
    same = jnp.zeros(empty.batch, bool)
    return _prompted(size, weights, empty, _rows(text, negative), same)


def prompt(
    size: Size,
    weights: Any,
    session: Session,
    text: jax.Array,
    negative: jax.Array | None,
) -> Session:
    """Gives sessions their prompts; a robot whose prompt changes begins anew.

    Args:
        size: of the model.
        weights: its weights.
        session: the sessions.
        text: see `start`.
        negative: see `start`.

    Returns:
        The sessions; those whose prompts are what they were, as they were.
    """
    rows = _rows(text, negative)
    same = (rows == session.text).all(axis=(1, 2)).reshape(-1, session.batch).all(0)
    return _prompted(size, weights, session, rows, same)


def _rows(text: jax.Array, negative: jax.Array | None) -> jax.Array:
    """Prompts of all rows."""
    text = text.astype(jnp.float32)
    if negative is None:
        return text
    return stack_branches(text, negative.astype(text.dtype))


def _prompted(
    size: Size, weights: Any, session: Session, rows: jax.Array, same: jax.Array
) -> Session:
    """Sessions with these prompts, but for robots whose prompts are the same."""
    branches = rows.shape[0] // session.batch
    kept = jnp.tile(same, branches)
    encoded = bind(size.dit, weights).encode_text(rows)
    merged = [
        _select(kept, old, new, axis=1)
        for old, new in zip(session.context.text, encoded, strict=True)
    ]
    return session._replace(
        position=jnp.where(same, session.position, 0),
        text=rows,
        context=session.context._replace(text=KeysValues(*merged)),
        cache=session.cache._replace(length=jnp.where(kept, session.cache.length, 0)),
    )


def observe(
    size: Size,
    weights: Any,
    session: Session,
    observation: Observation,
    layout: Layout | None = None,
) -> Observed:
    """Reads what has been observed into the cache.

    Args:
        size: of the model.
        weights: its weights.
        session: the sessions.
        observation: what the cameras saw.
        layout: where rows and heads lie on a mesh, or None.

    Returns:
        What the next block is denoised under, and the sessions moved on.
    """
    c = size.dit
    block = c.num_frame_per_block
    branches = session.text.shape[0] // session.batch
    begins = begins_window(c, session.position) | observation.restart
    rows = jnp.tile(begins, branches)
    length = jnp.where(rows, 0, session.cache.length)
    network = bind(c, weights)

    first = observation.first.astype(jnp.float32)
    y = None
    if session.y is not None and observation.y is not None:
        y = _select(begins, observation.y.astype(jnp.float32), session.y)
    # What is padding for one row must not hold a NaN from another's.
    padded = jnp.pad(first, ((0, 0), (0, 0), (0, block - 1), (0, 0), (0, 0)))
    frames = _select(begins, padded, observation.latents.astype(jnp.float32))

    def tiled(x: jax.Array) -> jax.Array:
        return jnp.concatenate([x] * branches)

    begun = _begun(network, session, observation.image, begins)
    context, cache = constrained(layout, begun)
    cache = network.prefill(
        constrained(layout, tiled(frames)),
        context,
        cache._replace(length=length),
        y=None if y is None else tiled(_window(y, length[: session.batch], block)),
        num_frames=jnp.where(rows, 1, block),
    )
    seen = cache.length[: session.batch]
    return Observed(
        Session(seen + block, session.text, context, cache, y),
        tiled(observation.state.astype(jnp.float32)),
        None if y is None else tiled(_window(y, seen, block)),
        begins,
        first,
    )


def _begun(
    network: CausalWanModel,
    session: Session,
    image: jax.Array | None,
    begins: jax.Array,
) -> tuple[Context, KVCache]:
    """Context and cache, with the first images of those who begin a window.

    Their frames are forgotten altogether: what is masked still meets a factor of zero,
    and zero times a NaN that a camera once sent would be one for ever.
    """
    branches = session.text.shape[0] // session.batch
    rows = jnp.tile(begins, branches)

    def begin(image_and_cache: tuple[Any, KVCache]) -> tuple[Any, KVCache]:
        seen, cache = image_and_cache
        if seen is not None:
            # The image says the same to both branches.
            new = network.encode_image(image)
            both = jax.tree.map(lambda x: jnp.concatenate([x] * branches, axis=1), new)
            seen = jax.tree.map(lambda n, o: _select(rows, n, o, axis=1), both, seen)
        k, v = (_select(rows, jnp.zeros_like(x), x, axis=1) for x in cache[:2])
        return seen, cache._replace(k=k, v=v)

    # Once in a window; most steps change nothing here.
    seen, cache = jax.lax.cond(
        begins.any(), begin, lambda kept: kept, (session.context.image, session.cache)
    )
    return session.context._replace(image=seen), cache


def _window(y: jax.Array, start: jax.Array, frames: int) -> jax.Array:
    """The frames of ``y`` from a position of each row's own; the last past its end."""

    def row(y: jax.Array, start: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(y, start, frames, axis=1)

    return jax.vmap(row)(y, start)


def _select(rows: jax.Array, yes: jax.Array, no: jax.Array, axis: int = 0) -> jax.Array:
    """Chooses between two arrays by rows along an axis."""
    shape = [1] * yes.ndim
    shape[axis] = len(rows)
    return jnp.where(rows.reshape(shape), yes, no)
