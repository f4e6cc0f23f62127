"""A pipeline: a model, its sampler and a cache backend, called again and again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jax_stepcache.backends import (
    CacheBackend,
    DiffusionCacheConfig,
    backend_from_environment,
    get_cache_backend,
)
from jax_stepcache.errors import naming_arguments
from jax_stepcache.kept import kept
from jax_stepcache.loop.result import SampleResult
from jax_stepcache.network.own import function_model
from jax_stepcache.network.params import Params, check_params
from jax_stepcache.network.protocol import Denoiser
from jax_stepcache.network.stages import has_stages
from jax_stepcache.sampling import sample


def backend_of(
    cache_backend: str | CacheBackend | None = None,
    cache_config: DiffusionCacheConfig | Mapping[str, Any] | None = None,
) -> CacheBackend | None:
    """The backend that a pipeline is asked with; a typo is told before weights load.

    Args:
        cache_backend: see `CachedSampler`.
        cache_config: likewise.

    Returns:
        The backend; None for no cache.

    Raises:
        ValueError: see `CachedSampler`.
    """
    if not isinstance(cache_backend, CacheBackend):
        name = backend_from_environment() if cache_backend is None else cache_backend
        return get_cache_backend(name, cache_config)
    if cache_config is not None:
        raise ValueError(
            f"{type(cache_backend).__name__} has its own settings; leave out "
            "cache_config"
        )
    return cache_backend


class CachedSampler:
    """A model, its sampler, and the backend that wraps it: what a pipeline is made of.

    Attributes:
        params: the weights.
        model: the model they belong to.
        sampler: `sample`, or `sample` with a cache filled in by a backend.
        cache_backend: the backend made at construction, or None.
    """

    sampler: Callable[..., SampleResult]

    @naming_arguments({"cache": "cache_backend", "config": "cache_config"})
    def __init__(
        self,
        params: Any,
        *,
        model: Denoiser | None = None,
        cache_backend: str | CacheBackend | None = None,
        cache_config: DiffusionCacheConfig | Mapping[str, Any] | None = None,
    ) -> None:
        """Makes a pipeline.

        Args:
            params: what `load_params` returned; or, with ``model``, any pytree.
            model: your own denoiser; see `sample`.
            cache_backend: a backend or the name of one; None for what the environment's
                ``DIFFUSION_CACHE_BACKEND`` names; ``"none"`` for no cache whatever the
                environment says.
            cache_config: the backend's settings.

        Raises:
            ValueError: for unknown names or settings that do not fit.
            TypeError: if there is no model.
        """
        check_params(params, model)
        self.params = params = kept(params)
        if isinstance(params, Params):
            self.model, self._own = params.model, {}
        elif callable(model) or has_stages(model):
            self.model, self._own = function_model(model), {"model": model}
        else:
            raise TypeError("params are no Params of this library; pass model= as well")
        self.sampler = sample
        self.cache_backend = backend_of(cache_backend, cache_config)
        if self.cache_backend is not None:
            self.cache_backend.enable(self)


@contextlib.contextmanager
def sampler_with(
    params: Any,
    *,
    cache_backend: str | CacheBackend | None = None,
    cache_config: DiffusionCacheConfig | Mapping[str, Any] | None = None,
) -> Iterator[Callable[..., SampleResult]]:
    """The sampler that a pipeline is going to have, to check a call before it is made.

    Args:
        params: see `CachedSampler`; weights may be `jax.ShapeDtypeStruct`.
        cache_backend: likewise; one of your own is enabled on nothing afterwards.
        cache_config: likewise.

    Yields:
        The sampler.

    Raises:
        ValueError: see `CachedSampler`.
    """
    made = CachedSampler(params, cache_backend=cache_backend, cache_config=cache_config)
    try:
        yield made.sampler
    finally:
        if made.cache_backend is not None:
            made.cache_backend.disable(made)


class Pipeline(CachedSampler):
    """What vLLM-Omni's ``Omni(model=..., cache_backend=...)`` is here."""

    def __call__(self, observation: Any = None, **options: Any) -> SampleResult:
        """Samples.

        Args:
            observation: what a bundled model is shown; see `sample`.
            **options: any option of `sample` but the cache's.

        Returns:
            The sample and its statistics.
        """
        if observation is not None:
            options["observation"] = observation
        return self.sampler(self.params, **self._own, **options)
