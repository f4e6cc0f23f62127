"""The levels of encoder and decoder."""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx

from .config import Factors
from .parts import ResidualBlock, Slots, fresh_of, run
from .rearranged import averaged, copied
from .resample import Down, Up


class _Level(nnx.Module):
    """Residual blocks, and what follows them.

    Attributes:
        block0: and further ones, residual blocks.
    """

    def __init__(
        self, features: int, out: int, blocks: int, factors: Factors, rngs: nnx.Rngs
    ):
        self.blocks = blocks
        for i in range(blocks):
            block = ResidualBlock(out if i else features, out, rngs=rngs)
            setattr(self, f"block{i}", block)
        self.factors = factors
        self.out = out

    @property
    def follows(self) -> Any:
        """What follows the blocks; None in the last level."""
        raise NotImplementedError

    @property
    def parts(self) -> list[Any]:
        """What it goes through."""
        blocks = [getattr(self, f"block{i}") for i in range(self.blocks)]
        return blocks if self.follows is None else [*blocks, self.follows]

    @property
    def fresh(self) -> Slots:
        """The slots before the first piece."""
        return fresh_of(self.parts)


class DownLevel(_Level):
    """Residual blocks, then fewer pixels and frames.

    Attributes:
        down: what follows them; None in the last level.
    """

    def __init__(
        self,
        features: int,
        out: int,
        blocks: int,
        factors: Factors,
        *,
        shortcut: bool,
        rngs: nnx.Rngs,
    ):
        super().__init__(features, out, blocks, factors, rngs)
        self.down: Down | None = nnx.data(
            Down(out, factors, rngs=rngs) if factors.space == 2 else None
        )
        self.shortcut = shortcut

    @property
    def follows(self) -> Down | None:
        """What follows the blocks; None in the last level."""
        return self.down

    def __call__(self, x: jax.Array, slots: Slots) -> tuple[jax.Array, Slots]:
        """Maps (B, T, h, w, in) to (B, T / time, h / space, w / space, out)."""
        y, kept = run(self.parts, x, slots)
        if self.shortcut:
            y = y + averaged(x, self.out, self.factors)
        return y, kept


class UpLevel(_Level):
    """Residual blocks, then more pixels and frames.

    Attributes:
        up: what follows them; None in the last level.
    """

    def __init__(
        self,
        features: int,
        out: int,
        blocks: int,
        factors: Factors,
        *,
        shortcut: bool,
        rngs: nnx.Rngs,
    ):
        super().__init__(features, out, blocks, factors, rngs)
        # Without shortcuts, half the channels are left for the next level.
        after = out if shortcut else out // 2
        self.up: Up | None = nnx.data(
            Up(out, after, factors, rngs=rngs) if factors.space == 2 else None
        )
        self.shortcut = shortcut and factors.space == 2

    @property
    def follows(self) -> Up | None:
        """What follows the blocks; None in the last level."""
        return self.up

    def __call__(self, x: jax.Array, slots: Slots) -> tuple[jax.Array, Slots]:
        """Maps (B, T, h, w, in) to (B, T * time, h * space, w * space, out)."""
        y, kept = run(self.parts, x, slots)
        if self.shortcut:
            first = jax.tree.leaves(slots) == []
            y = y + copied(x, self.out, self.factors, first)
        return y, kept
