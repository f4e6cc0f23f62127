"""The sizes of a pi0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from jax_stepcache.errors import unknown_name

from ...sizes.counts import DTYPES, require_count
from ...sizes.options import require_known


@dataclass(frozen=True)
class VisionConfig:
    """Sizes of the SigLIP that looks at the pictures, under the original's names.

    Attributes:
        width: of the residual stream.
        depth: transformer blocks.
        mlp_dim: width of the feed-forward layers.
        num_heads: attention heads; they divide ``width``.
        patch_size: rows, and columns, of one token; it divides the pictures' size.
    """

    width: int = 1152
    depth: int = 27
    mlp_dim: int = 4304
    num_heads: int = 16
    patch_size: int = 14


@dataclass(frozen=True)
class GemmaConfig:
    """Sizes of one of the two Gemmas, under the original's names.

    Attributes:
        width: of the residual stream.
        depth: transformer blocks.
        mlp_dim: width of the gated feed-forward layers.
        num_heads: heads of queries.
        num_kv_heads: heads of keys and values; they divide ``num_heads``.
        head_dim: channels of a head, even.
    """

    width: int = 2048
    depth: int = 18
    mlp_dim: int = 16384
    num_heads: int = 8
    num_kv_heads: int = 1
    head_dim: int = 256


GEMMA_300M = GemmaConfig(width=1024, mlp_dim=4096)
"""The action expert's."""

_COUNTS = ("image_size", "vocab", "action_dim", "action_horizon", "max_token_len")
_ALIKE = ("depth", "num_heads", "num_kv_heads", "head_dim")


@dataclass(frozen=True)
class Pi0Config:
    """Sizes of `Pi0`. Hashable; the defaults are pi0's base.

    Attributes:
        pi05: whether it is pi0.5: the expert's norms are told the time, and the state
            is part of the prompt.
        vision: of the SigLIP.
        gemma: of the Gemma that reads pictures and prompt.
        expert: of the one that denoises actions.
        vocab: tokens that there are.
        image_size: rows, and columns, of a picture.
        action_dim: channels of an action and of the state.
        action_horizon: actions of a chunk.
        max_token_len: tokens of a prompt.
        eps: added to mean squares and variances.
        dtype: name of the dtype of activations; weights keep their own.
    """

    pi05: bool = False
    vision: VisionConfig = VisionConfig()
    gemma: GemmaConfig = GemmaConfig()
    expert: GemmaConfig = GEMMA_300M
    vocab: int = 257152
    image_size: int = 224
    action_dim: int = 32
    action_horizon: int = 50
    max_token_len: int = 48
    eps: float = 1e-6
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Rejects sizes that no forward could run with.

        Raises:
            ValueError: naming the field, its value and what is allowed.
        """
        for name in _COUNTS:
            require_count(name, getattr(self, name))
        for what in ("vision", "gemma", "expert"):
            part = getattr(self, what)
            for one in fields(part):
                require_count(f"{what}.{one.name}", getattr(part, one.name))
        if self.image_size % self.vision.patch_size:
            raise ValueError(
                f"vision.patch_size must divide image_size, got "
                f"{self.vision.patch_size} and {self.image_size}"
            )
        if self.vision.width % self.vision.num_heads:
            raise ValueError(
                f"vision.num_heads must divide vision.width, got "
                f"{self.vision.num_heads} and {self.vision.width}"
            )
        for name in _ALIKE:
            one, other = getattr(self.gemma, name), getattr(self.expert, name)
            if one != other:
                raise ValueError(
                    f"gemma.{name} and expert.{name} must agree, for the expert reads "
                    f"the other's keys and values; got {one} and {other}"
                )
        if self.gemma.num_heads % self.gemma.num_kv_heads:
            raise ValueError(
                f"gemma.num_kv_heads must divide gemma.num_heads, got "
                f"{self.gemma.num_kv_heads} and {self.gemma.num_heads}"
            )
        if self.gemma.head_dim % 2 or self.expert.width % 2:
            raise ValueError(
                "gemma.head_dim and expert.width must be even, got "
                f"{self.gemma.head_dim} and {self.expert.width}"
            )
        if self.dtype not in DTYPES:
            raise ValueError(unknown_name("dtype", self.dtype, DTYPES))

    @property
    def image_tokens(self) -> int:
        """Tokens of one picture."""
        return (self.image_size // self.vision.patch_size) ** 2

    @property
    def suffix_tokens(self) -> int:
        """Tokens of the action expert: the actions', and pi0's one of the state."""
        return self.action_horizon + (not self.pi05)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Pi0Config:
        """Makes the configuration that `dataclasses.asdict` took apart.

        Raises:
            ValueError: for an unknown field, or a value that does not fit.
        """
        require_known(cls, config, "pi0")
        parts = {"vision": VisionConfig, "gemma": GemmaConfig, "expert": GemmaConfig}
        given = dict(config)
        for name, kind in parts.items():
            if name in given:
                require_known(kind, given[name], f"pi0's {name}")
                given[name] = kind(**given[name])
        return cls(**given)
