"""A robot's session: what DreamZero remembers from one control step to the next.

A session walks through windows of latent frames. A window begins with one frame; each
control step then reads the frames that have been observed since the last one into the
KV cache, and imagines the next ones. Full windows begin anew, as does one whose prompt
has changed. Everything here is a pure function over a pytree of fixed shapes, so one
compiled program serves every position in the window, and sessions at different ones
side by side.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.checkpoints.layers import are_apart
from jax_stepcache.meshes.layout import Layout
from jax_stepcache.network.guidance import stack_branches

from ...layers.attention import KeysValues
from ...layers.prompt_attention import Context
from ...layers.stack import for_each
from ...layers.video_axes import constrained
from ..network.kv_cache import KVCache, cache_struct, keys_values_struct
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


def session_struct(
    size: Size, batch: int, guided: bool, apart: bool = False
) -> Session:
    """Shapes and dtypes of a session; nothing is allocated.

    Args:
        size: of the model.
        batch: robots B.
        guided: whether there are rows of the unconditional branch.
        apart: whether each layer has keys and values of its own, as the weights are.

    Returns:
        The session's structure.
    """
    c = size.dit
    struct: Any = jax.ShapeDtypeStruct
    rows = 2 * batch if guided else batch

    def keys_values(tokens: int) -> KeysValues:
        return keys_values_struct(c, rows, tokens, c.dtype, apart)

    y = (batch, c.y_dim, c.window, *size.latent_size)
    return Session(
        position=struct((batch,), jnp.int32),
        text=struct((rows, c.text_len, c.text_dim), jnp.float32),
        context=Context(
            keys_values(c.text_len),
            None if c.image_dim is None else keys_values(c.image_len),
        ),
        # A window's last frames are imagined, and never read from the cache.
        cache=cache_struct(c, rows, c.window - c.num_frame_per_block, c.dtype, apart),
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
    apart = are_apart(weights)
    struct = session_struct(size, len(text), negative is not None, apart)
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
    select = functools.partial(_select, kept)
    return session._replace(
        position=jnp.where(same, session.position, 0),
        text=rows,
        context=session.context._replace(
            text=for_each(select, session.context.text, encoded)
        ),
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

    context = _begun(network, session, observation.image, begins)
    context, cache = constrained(layout, (context, session.cache))
    cache = network.prefill(
        constrained(layout, tiled(frames)),
        context,
        cache._replace(length=length),
        y=None if y is None else tiled(_window(y, length[: session.batch], block)),
        num_frames=jnp.where(rows, 1, block),
        branches=branches,
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
) -> Context:
    """The context, with the first images of those who begin a window."""
    seen = session.context.image
    if seen is None:
        return session.context
    branches = session.text.shape[0] // session.batch
    select = functools.partial(_select, jnp.tile(begins, branches))

    def begin(seen: KeysValues) -> KeysValues:
        # The image says the same to both branches.
        new = for_each(
            lambda x: jnp.concatenate([x] * branches), network.encode_image(image)
        )
        return for_each(select, new, seen)

    # Once in a window; most steps change nothing here.
    seen = jax.lax.cond(begins.any(), begin, lambda seen: seen, seen)
    return session.context._replace(image=seen)


def _window(y: jax.Array, start: jax.Array, frames: int) -> jax.Array:
    """The frames of ``y`` from a position of each row's own; the last past its end."""

    def row(y: jax.Array, start: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(y, start, frames, axis=1)

    return jax.vmap(row)(y, start)


def _select(rows: jax.Array, yes: jax.Array, no: jax.Array) -> jax.Array:
    """Chooses between two arrays by rows."""
    return jnp.where(rows.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)
