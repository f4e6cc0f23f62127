"""The sizes of a CLIP text encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jax

from jax_stepcache.errors import unknown_name

from ...layers.activations import gelu_erf, gelu_quick
from ...layers.clip_block import ClipSizes
from ...sizes.counts import DTYPES, require_count
from ...sizes.options import require_known

_COUNTS = ("vocab", "length", "dim", "mlp_width", "num_heads", "num_layers")
ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = MappingProxyType(
    {"quick_gelu": gelu_quick, "gelu": gelu_erf}
)
"""Between the maps of the feed-forward, under transformers' names."""


@dataclass(frozen=True)
class CLIPTextConfig:
    """Sizes of `CLIPText`.

    Hashable, so that it may be a static argument of a jitted function. The defaults
    are those of ViT-L/14's text encoder.

    Attributes:
        vocab: tokens that there are.
        length: tokens that a text may have, those around it included.
        dim: width of the residual stream.
        mlp_width: width of the feed-forward layers.
        num_heads: attention heads; they divide ``dim``.
        num_layers: transformer blocks.
        end: the token whose features stand for the text; None for the highest one in
            it, as in CLIP's first releases.
        activation: a key of `ACTIVATIONS`.
        eps: added to the variances that normalisations divide by.
        dtype: name of the dtype of activations; weights keep their own.
    """

    vocab: int = 49408
    length: int = 77
    dim: int = 768
    mlp_width: int = 3072
    num_heads: int = 12
    num_layers: int = 12
    end: int | None = None
    activation: str = "quick_gelu"
    eps: float = 1e-5
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Rejects sizes that no forward could run with.

        Raises:
            ValueError: naming the field, its value and what is allowed.
        """
        for name in _COUNTS:
            require_count(name, getattr(self, name))
        if self.dim % self.num_heads:
            raise ValueError(
                f"num_heads must divide dim, got {self.num_heads} and {self.dim}"
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(unknown_name("activation", self.activation, ACTIVATIONS))
        if not self.eps > 0:
            raise ValueError(f"eps must be positive, got {self.eps}")
        if self.dtype not in DTYPES:
            raise ValueError(unknown_name("dtype", self.dtype, DTYPES))

    @property
    def sizes(self) -> ClipSizes:
        """Those of a block."""
        activation = ACTIVATIONS[self.activation]
        return ClipSizes(self.dim, self.mlp_width, self.num_heads, self.eps, activation)

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> CLIPTextConfig:
        """Reads options by name.

        Args:
            options: as `dataclasses.asdict` gives them.

        Returns:
            The configuration.

        Raises:
            ValueError: for a name that is not known, or sizes that do not fit.
        """
        require_known(cls, options, "CLIP's text encoder")
        return cls(**options)


CONFIGS: Mapping[str, CLIPTextConfig] = MappingProxyType(
    {"clip-vit-l-14": CLIPTextConfig(dtype="bfloat16")}
)
"""The released size, by name: the text's half of openai/clip-vit-large-patch14."""
