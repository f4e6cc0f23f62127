"""What backends share that look inside the network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from jax_stepcache.backends.base import CacheBackend, check_pipeline
from jax_stepcache.backends.config import DiffusionCacheConfig
from jax_stepcache.backends.experts import has_settings_of_each, of_each
from jax_stepcache.check import check_flag
from jax_stepcache.network.protocol import Model
from jax_stepcache.network.stages import check_stages
from jax_stepcache.policy.policy import Policy


class InsideBackend(CacheBackend):
    """What these backends share: they need a network in stages."""

    def policy(self, model: Model, num_inference_steps: int) -> Policy:
        """See `CacheBackend.policy`.

        Raises:
            ValueError: if the settings do not fit, or the model cannot be asked for its
                parts.
        """
        check_stages(model, None)
        each = has_settings_of_each(self.config, model)
        both = self._serves_both(model)
        if both and each:
            raise ValueError(
                f"{model.name}'s experts share one state in this cache, which takes no "
                "settings for 'high' or 'low'; with original=False each has its own"
            )

        def composed(backend: InsideBackend) -> Policy:
            return backend._composed(model, num_inference_steps)

        if both or getattr(model, "experts_meet_at", None) is None:
            policy = composed(self)
        else:
            policy = of_each(self, model, composed)
        check_policy(policy, model)
        return policy

    def _serves_both(self, model: Model) -> bool:
        """Whether one state goes on from one expert to the other."""
        del model
        return False

    @abstractmethod
    def _composed(self, model: Model, num_steps: int) -> Policy:
        """The policy, by the settings."""

    def enable(self, pipeline: Any) -> None:
        """See `CacheBackend.enable`; any pipeline of a network in stages will do."""
        check_pipeline(pipeline)
        check_stages(pipeline.model, None)
        self._wrap(pipeline)

    def refresh(
        self, pipeline: Any, num_inference_steps: int, verbose: bool = True
    ) -> None:
        """See `CacheBackend.refresh`."""
        self._prepare(pipeline, num_inference_steps, verbose)

    def _forecast(self, default: Any = "hold") -> Any:
        return default if self.config.forecast is None else self.config.forecast


def check_policy(policy: Policy, model: Any) -> None:
    """Checks that a model can serve a policy.

    Raises:
        ValueError: naming what is missing and how to add it.
    """
    span = getattr(policy, "span", None)
    if span is not None:
        check_stages(model, span, getattr(policy, "looks_at", ""))


def calibrated(model: Any, backend: str, num_steps: int) -> Mapping[str, Any]:
    """Settings that were found for a model, if it has any; see `Calibrated`."""
    find = getattr(model, "calibrated", None)
    return {} if find is None else find(backend, num_steps)


def as_original(config: DiffusionCacheConfig, found: Mapping[str, Any]) -> bool:
    """Whether a cache is to decide as its authors' code for Wan does."""
    if config.original is None:
        return bool(found.get("original", False))
    check_flag("original", config.original)
    return bool(config.original)
