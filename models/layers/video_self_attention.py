"""Self-attention of a video's tokens, to frames before them as well."""

from __future__ import annotations

import jax
from flax import nnx

from .attention import KeysValues, attend, split_heads
from .linear import Linear
from .norms import RMSNorm
from .rotary import Rotation, rotate
from .video_sizes import VideoSizes
from .window_attention import Seen, attend_window


class SelfAttention(nnx.Module):
    """Attention of the new tokens to the window's frames and to themselves.

    Attributes:
        q: query projection; ``k``, ``v`` and ``o`` are key, value and output.
        norm_q: of the queries over all heads together; ``norm_k`` of the keys.
        num_heads: heads.
        kernel: see `attend`.
    """

    def __init__(self, sizes: VideoSizes, *, rngs: nnx.Rngs):
        dim = sizes.dim
        self.q = Linear(dim, dim, rngs=rngs)
        self.k = Linear(dim, dim, rngs=rngs)
        self.v = Linear(dim, dim, rngs=rngs)
        self.o = Linear(dim, dim, rngs=rngs)
        self.norm_q = RMSNorm(dim, sizes.eps, rotated=True)
        self.norm_k = RMSNorm(dim, sizes.eps, rotated=True)
        self.num_heads = sizes.num_heads
        self.kernel = sizes.attention

    def __call__(
        self,
        x: jax.Array,
        rotation: Rotation,
        cached: KeysValues | None,
        seen: Seen | None,
    ) -> tuple[jax.Array, KeysValues]:
        """Attends.

        Args:
            x: (B, L, D) new tokens.
            rotation: of the new tokens.
            cached: keys and values (B, K, heads, head_dim) of earlier frames; None
                where there are none (K = 0).
            seen: the keys that a query attends to; all of them unless given.

        Returns:
            (B, L, D), and keys and values of the new tokens.
        """
        q = rotate(split_heads(self.norm_q(self.q(x)), self.num_heads), rotation)
        k = rotate(split_heads(self.norm_k(self.k(x)), self.num_heads), rotation)
        v = split_heads(self.v(x), self.num_heads)
        if cached is None:
            y = attend(q, k, v, self.kernel, None if seen is None else seen.mask)
        else:
            assert seen is not None, "it says which of the cached keys"
            y = attend_window(q, KeysValues(k, v), cached, seen, self.kernel)
        return self.o(y.reshape(x.shape)), KeysValues(k, v)
