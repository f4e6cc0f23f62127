"""FirstBlockCache and TaylorSeer at fixed intervals, under diffusers' names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from jax_stepcache.backends.config import DiffusionCacheConfig
from jax_stepcache.backends.inside import InsideBackend
from jax_stepcache.check import check_flag
from jax_stepcache.errors import naming_fields
from jax_stepcache.network.protocol import Model
from jax_stepcache.policy.named import first_block_cache, taylor_seer
from jax_stepcache.policy.policy import Policy


@naming_fields()
@dataclass(frozen=True)
class FirstBlockCacheConfig:
    """diffusers' settings of FirstBlockCache.

    Attributes:
        threshold: relative change of the first block's residual up to which the others
            are skipped.
    """

    threshold: Any = 0.05


@naming_fields()
@dataclass(frozen=True)
class TaylorSeerCacheConfig:
    """diffusers' settings of TaylorSeer.

    Attributes:
        cache_interval: from the second skipped step on, every so many run.
        disable_cache_before_step: steps that run first.
        disable_cache_after_step: the step from which all run again, or None.
        max_order: of the series.
        use_lite_mode: whether the network's output is extrapolated, instead of what its
            blocks add.
        attention_only: whether what the attentions say is, as in diffusers' own
            default, of a network that can be given that.
    """

    cache_interval: int = 5
    disable_cache_before_step: int = 3
    disable_cache_after_step: int | None = None
    max_order: int = 1
    use_lite_mode: bool = False
    attention_only: bool = False


class FirstBlockCacheBackend(InsideBackend):
    """Skips the other blocks while the first one does the same."""

    def __init__(
        self,
        config: DiffusionCacheConfig
        | FirstBlockCacheConfig
        | Mapping[str, Any]
        | None = None,
    ) -> None:
        super().__init__(_ours(config, FirstBlockCacheConfig))

    def _composed(self, model: Model, num_steps: int) -> Policy:
        del model, num_steps
        return first_block_cache(self.config.threshold, forecast=self._forecast())


class TaylorSeerBackend(InsideBackend):
    """Skips all blocks at fixed intervals and extrapolates what they add."""

    def __init__(
        self,
        config: DiffusionCacheConfig
        | TaylorSeerCacheConfig
        | Mapping[str, Any]
        | None = None,
    ) -> None:
        super().__init__(_ours(config, TaylorSeerCacheConfig))

    def _composed(self, model: Model, num_steps: int) -> Policy:
        del model
        c = self.config
        for name in ("use_lite_mode", "attention_only"):
            check_flag(name, getattr(c, name))
        return taylor_seer(
            num_steps,
            c.cache_interval,
            c.disable_cache_before_step,
            c.disable_cache_after_step,
            c.max_order,
            lite=c.use_lite_mode,
            attention_only=c.attention_only,
            forecast=self.config.forecast,
        )


def _ours(config: Any, theirs: type) -> Any:
    """Diffusers' settings under the same names in `DiffusionCacheConfig`."""
    if not isinstance(config, theirs):
        return config
    return {field.name: getattr(config, field.name) for field in fields(theirs)}
