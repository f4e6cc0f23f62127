"""DreamZero's causal transformer over video, action and state tokens.

After `CausalWanModel` of https://github.com/dreamzero0/dreamzero (Apache-2.0): one
denoising forward sees the frames before it through a `KVCache`, and a prefill
writes frames that have been observed into it. Everything is a pure function of
its arguments, so the same methods serve sampling and training.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jax_stepcache.checkpoints.layers import is_apart

from ...layers.attention import KeysValues
from ...layers.linear import MLP
from ...layers.patches import patchify_video
from ...layers.precision import at_least_float32
from ...layers.prompt_attention import Context
from ...layers.rotary import rotation
from ...layers.spread import ALONE, Spread
from ...layers.stack import run_stack
from ...layers.video_transformer import VideoTransformer
from . import kv_cache, positions
from .config import DreamZeroConfig
from .embeddings import ActionEncoder
from .kv_cache import KVCache
from .shapes import (
    check_cache,
    check_image,
    check_registers,
    require_layers,
    require_shape,
    start_frames,
    token_grid,
    with_condition,
)
from .tokens import Embedded, Outputs, filled_up


class CausalWanModel(VideoTransformer):
    """The transformer: that of videos, and what actions and states take.

    Attributes:
        config: sizes and switches.
        state_encoder: robot state to token.
        action_encoder: noisy action to token.
        action_decoder: token to action velocity.
    """

    def __init__(self, config: DreamZeroConfig, *, rngs: nnx.Rngs):
        zeros = nnx.initializers.zeros_init()
        dim = config.dim
        super().__init__(config.video, rngs=rngs)
        self.config = config
        self.state_encoder = MLP(
            config.max_state_dim,
            config.hidden_size,
            dim,
            activation=jax.nn.relu,
            rngs=rngs,
        )
        self.action_encoder = ActionEncoder(config.action_dim, dim, rngs=rngs)
        self.action_decoder = MLP(
            dim,
            config.hidden_size,
            config.action_dim,
            activation=jax.nn.relu,
            rngs=rngs,
            out_init=zeros,
        )
        self.add_blocks(rngs)

    def encode_context(
        self, text: jax.Array, image: jax.Array | None = None
    ) -> Context:
        """Prepares a prompt for all layers; once per prompt is enough.

        Args:
            text: (B, text_len, text_dim) encoded prompt, zero past its length.
            image: (B, image_len, image_dim) image features; None exactly where
                the model has no image branch.

        Returns:
            Keys and values of the cross-attentions.

        Raises:
            ValueError: for a shape that does not fit the configuration.
        """
        return Context(self.encode_text(text), self.encode_image(image))

    def encode_text(self, text: jax.Array, spread: Spread = ALONE) -> KeysValues:
        """The text's part of `encode_context`."""
        c = self.config
        require_shape("text", text, (text.shape[0], c.text_len, c.text_dim))
        return self.text_keys(text, spread)

    def encode_image(
        self, image: jax.Array | None, spread: Spread = ALONE
    ) -> KeysValues | None:
        """The image's part of `encode_context`; None without an image branch."""
        return self.image_keys(check_image(self.config, image), spread)

    def prefill(
        self,
        video: jax.Array,
        context: Context,
        cache: KVCache,
        *,
        y: jax.Array | None = None,
        start_frame: jax.Array | int | None = None,
        num_frames: jax.Array | None = None,
        branches: int = 1,
    ) -> KVCache:
        """Writes observed frames into the cache.

        Args:
            video: (B, out_dim, f, H, W) latents of the frames, free of noise.
            context: of the prompt.
            cache: of the frames before them.
            y: (B, y_dim, f, H, W) conditioning latent where the model takes one.
            start_frame: position of the first frame, () or (B,) int; the frames
                written so far unless given.
            num_frames: (B,) int, how many of the frames each sequence has, at least
                1; the rest are neither attended to nor written, and may hold anything
                finite. All of them unless given.
            branches: guidance branches: so many equal parts of the rows are at the
                same positions.

        Returns:
            The cache with the frames in it.

        Raises:
            ValueError: for shapes that do not fit the configuration or the cache.
        """
        room = kv_cache.slots(self.config, cache)
        if video.ndim == 5 and video.shape[2] > room:
            raise ValueError(
                f"the cache has room for {room} frames, got {video.shape[2]} at once"
            )
        embedded = self.embed(
            video,
            jnp.zeros(video.shape[0], jnp.float32),
            y=y,
            start_frame=cache.length if start_frame is None else start_frame,
        )
        _, new = self.run_blocks(embedded, context, cache, num_frames=num_frames)
        return kv_cache.append(self.config, cache, *new, num_frames, branches)

    def __call__(
        self,
        video: jax.Array,
        action: jax.Array,
        state: jax.Array,
        t_video: jax.Array,
        t_action: jax.Array,
        context: Context,
        cache: KVCache,
        *,
        y: jax.Array | None = None,
        start_frame: jax.Array | int | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Predicts the velocities of the next frames and actions.

        Args:
            video: (B, out_dim, f, H, W) noisy latents.
            action: (B, num_action_per_block, action_dim) noisy actions.
            state: (B, num_state_per_block, max_state_dim) robot state.
            t_video: (B,) timestep of the video in [0, 1000].
            t_action: (B,) timestep of the actions.
            context: of the prompt.
            cache: of the frames before these; at least the first one.
            y: (B, y_dim, f, H, W) conditioning latent where the model takes one.
            start_frame: position of the first frame, () or (B,) int, at least 1;
                the frames written so far unless given.

        Returns:
            Velocities like ``video`` and ``action``, float32.

        Raises:
            ValueError: for shapes that do not fit the configuration or the cache.
        """
        embedded = self.embed(
            video,
            t_video,
            action=action,
            state=state,
            t_action=t_action,
            y=y,
            start_frame=cache.length if start_frame is None else start_frame,
        )
        x, _ = self.run_blocks(embedded, context, cache, keep_new=False)
        return self.decode_video(embedded, x), self.decode_action(embedded, x)

    def forward(
        self,
        video: jax.Array,
        t_video: jax.Array,
        context: Context,
        cache: KVCache,
        *,
        action: jax.Array | None = None,
        state: jax.Array | None = None,
        t_action: jax.Array | None = None,
        y: jax.Array | None = None,
        start_frame: jax.Array | int | None = None,
    ) -> Outputs:
        """Runs the network and returns all it computes.

        Arguments are those of `__call__`; without ``action``, ``state`` and
        ``t_action`` only the video goes through. The cache is not written.
        """
        embedded = self.embed(
            video,
            t_video,
            action=action,
            state=state,
            t_action=t_action,
            y=y,
            start_frame=cache.length if start_frame is None else start_frame,
        )
        x, new = self.run_blocks(embedded, context, cache)
        return Outputs(
            self.decode_video(embedded, x),
            None if action is None else self.decode_action(embedded, x),
            new,
        )

    def embed(
        self,
        video: jax.Array,
        t_video: jax.Array,
        *,
        action: jax.Array | None = None,
        state: jax.Array | None = None,
        t_action: jax.Array | None = None,
        y: jax.Array | None = None,
        start_frame: jax.Array | int,
    ) -> Embedded:
        """Turns the inputs into tokens; arguments are those of `__call__`."""
        c = self.config
        grid, batch = token_grid(c, video), video.shape[0]
        start = start_frames(batch, start_frame)
        require_shape("t_video", t_video, (batch,))
        x = self.embed_video(video, y)
        angles = positions.video_angles(c, start, grid)
        spans = [(1, x.shape[1])]
        t = t_video[:, None]
        if action is not None or state is not None or t_action is not None:
            action, state, t_action = check_registers(c, batch, action, state, t_action)
            tokens = self.embed_registers(action, state, t_action[:, None])
            x = jnp.concatenate([x, tokens], axis=1)
            spans.append((1, tokens.shape[1]))
            registers = positions.register_angles(c, start)
            angles = jnp.concatenate([angles, registers], axis=1)
            t = jnp.stack([t_video, t_action], axis=1)
        e, modulation = self.embed_time(t)
        return Embedded(x, e, modulation, rotation(angles), grid, tuple(spans))

    def embed_video(self, video: jax.Array, y: jax.Array | None) -> jax.Array:
        """Latents (B, out_dim, f, H, W), and ``y`` beside them, to tokens (B, S, D)."""
        c = self.config
        token_grid(c, video)  # which checks it
        beside = with_condition(c, video, y).astype(c.dtype)
        return self.patch_embedding(patchify_video(beside, c.patch_size))

    def embed_registers(
        self, action: jax.Array, state: jax.Array, t_action: jax.Array
    ) -> jax.Array:
        """Actions at timesteps (B, 1 or A) and states to tokens (B, A + states, D)."""
        actions = self.action_encoder(action.astype(self.config.dtype), t_action)
        states = self.state_encoder(state.astype(self.config.dtype))
        return jnp.concatenate([actions, states], axis=1)

    def run_blocks(
        self,
        embedded: Embedded,
        context: Context,
        cache: KVCache,
        *,
        keep_new: bool = True,
        num_frames: jax.Array | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> tuple[jax.Array, KeysValues]:
        """Sends the tokens through the blocks, as `run_stack` does.

        Args:
            embedded: the tokens.
            context: of the prompt.
            cache: of earlier frames.
            keep_new: keeps keys and values; without, empty arrays stand for them.
            num_frames: see `prefill`.
            start: the first block; 0 unless given.
            stop: the block to stop before; all of them unless given.

        Returns:
            Tokens (B, L, D), and keys and values of the new video tokens,
            (stop - start, B, S, heads, head_dim); `Layers` of them if apart.

        Raises:
            ValueError: if context or cache do not fit the tokens.
        """
        c, (batch, tokens) = self.config, embedded.x.shape[:2]
        check_cache(c, cache, batch)
        one = (batch, c.text_len, c.num_heads, c.head_dim)
        require_layers("context.text.k", context.text.k, c.num_layers, one)
        if is_apart(cache.k):
            embedded = filled_up(embedded)
        kept = embedded.video_tokens if keep_new else 0
        frames, filling = embedded.grid[0], embedded.x.shape[1] - tokens
        seen = kv_cache.attended(c, cache, num_frames, frames, tokens, filling)
        broken = kv_cache.sees_broken(c, cache, num_frames, frames)
        x = jnp.where(broken[:, None, None], jnp.nan, embedded.x)
        graph, layers = nnx.split(self.blocks)
        per_layer = (layers, context, KeysValues(cache.k, cache.v))

        def layer(x, part):
            state, layer_context, cached = part
            x, new = nnx.merge(graph, state)(
                x,
                embedded.modulation,
                embedded.rotation,
                layer_context,
                cached,
                seen,
                spans=embedded.spans,
            )
            return x, KeysValues(new.k[:, :kept], new.v[:, :kept])

        x, new = run_stack(layer, x, per_layer, start, stop, c.unroll)
        return x[:, :tokens], new

    def first_input(self, embedded: Embedded) -> jax.Array:
        """What block 0 feeds its self-attention: tokens (B, L, D), modulated."""
        return self.input_of_first(embedded.x, embedded.modulation, embedded.spans)

    def decode_video(
        self, embedded: Embedded, x: jax.Array, e: jax.Array | None = None
    ) -> jax.Array:
        """Reads the video velocity (B, out_dim, f, H, W) off the last tokens.

        ``e`` (B, 1 or f, D) is the time embedding of the frames; the first row of
        ``embedded.e`` unless given.
        """
        e = embedded.e[:, :1] if e is None else e
        return self.velocity(x[:, : embedded.video_tokens], e, embedded.grid)

    def decode_action(self, embedded: Embedded, x: jax.Array) -> jax.Array:
        """Reads the action velocity (B, A, action_dim) off the last tokens."""
        c, first = self.config, embedded.video_tokens
        registers = c.num_action_per_block + c.num_state_per_block
        actions = (x.shape[1] - first) // registers * c.num_action_per_block
        return at_least_float32(self.action_decoder(x[:, first : first + actions]))
