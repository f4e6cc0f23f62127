"""What backends share that look at no part of the network: any pipeline will do."""

from __future__ import annotations

from typing import Any

from jax_stepcache.backends.base import CacheBackend


class AroundBackend(CacheBackend):
    """What these backends share: any pipeline with a sampler will do."""

    def enable(self, pipeline: Any) -> None:
        """See `CacheBackend.enable`."""
        self._wrap(pipeline)

    def refresh(
        self, pipeline: Any, num_inference_steps: int, verbose: bool = True
    ) -> None:
        """See `CacheBackend.refresh`."""
        self._prepare(pipeline, num_inference_steps, verbose)
