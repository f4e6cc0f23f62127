"""The abstract cache backend, as in vLLM-Omni's `diffusion/cache/base.py`."""

from __future__ import annotations

import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jax_stepcache.backends.config import DiffusionCacheConfig, wrong_config
from jax_stepcache.check import check_count
from jax_stepcache.kept import kept
from jax_stepcache.network.protocol import Model
from jax_stepcache.policy.policy import Policy
from jax_stepcache.solvers.schedule import num_steps_of

_log = logging.getLogger(__name__)


class CacheBackend(ABC):
    """Turns settings into a policy, and wraps a pipeline's sampler with it.

    What the original does with hooks and flags inside the network, this does with a
    function: a pipeline has a ``sampler``, and enabling a backend replaces it by the
    same sampler with the cache filled in. The cache's state lives in the compiled
    loop's carry and starts clean at every call, so a forgotten `refresh` leaks nothing.

    Attributes:
        config: the settings.
        enabled: whether a pipeline is wrapped.
    """

    def __init__(
        self, config: DiffusionCacheConfig | Mapping[str, Any] | None = None
    ) -> None:
        if config is None:
            config = DiffusionCacheConfig()
        elif isinstance(config, Mapping):
            config = DiffusionCacheConfig.from_dict(config)
        elif not isinstance(config, DiffusionCacheConfig):
            raise TypeError(wrong_config(config))
        arrays = {k: x for k, x in vars(config).items() if isinstance(x, np.ndarray)}
        self.config = replace(config, **kept(arrays)) if arrays else config
        self.enabled = False

    def policy(self, model: Model, num_inference_steps: int) -> Policy:
        """Makes the policy for a model and a step count; what `sample` asks for.

        Raises:
            ValueError: if the settings do not fit.
            NotImplementedError: from a backend that wraps pipelines in its own way.
        """
        del model, num_inference_steps
        raise NotImplementedError(f"{type(self).__name__} makes no policy")

    def policy_of_steps(self, model: Model, schedule: Any) -> Policy:
        """The policy for a schedule, where its noise levels matter; see `policy`.

        Args:
            model: the model.
            schedule: of the network calls, or one for each output.

        Returns:
            The policy.

        Raises:
            ValueError: see `policy`.
        """
        return self.policy(model, num_steps_of(schedule))

    def tables(self, model: Model, sampler: Mapping[str, Any]) -> Any:
        """What the sampler is to step by instead of its solver and schedule.

        Args:
            model: the model.
            sampler: options of `sample` that were given of those a table replaces:
                ``num_inference_steps``, ``shift``, ``final_noise``, ``schedule``,
                ``solver``.

        Returns:
            A table, or one for each output; None for the sampler's own, and then
            `policy` is asked.

        Raises:
            ValueError: if there is no such table, or it does not go with the sampler.
        """
        del model, sampler
        return None

    def holds_for(self, model: Model, tabled: bool) -> Mapping[str, Any] | None:
        """Which options of `sample` its settings were found with.

        Args:
            model: the model.
            tabled: whether the sampler steps by `tables`, or else as `policy` says.

        Returns:
            Those that were not the model's defaults; None where nothing is known.
        """
        del model, tabled
        return None

    @abstractmethod
    def enable(self, pipeline: Any) -> None:
        """Wraps a pipeline's sampler.

        Args:
            pipeline: an object with a ``sampler`` and a ``model``.

        Raises:
            ValueError: if the pipeline cannot be served or is wrapped already.
        """

    @abstractmethod
    def refresh(
        self, pipeline: Any, num_inference_steps: int, verbose: bool = True
    ) -> None:
        """Prepares for a generation, as vLLM-Omni calls it before each.

        Args:
            pipeline: the wrapped pipeline.
            num_inference_steps: the generation's step count.
            verbose: whether to log what will be done.

        Raises:
            ValueError: if the settings do not fit that step count.
        """

    def _prepare(self, pipeline: Any, num_inference_steps: int, verbose: bool) -> None:
        """What `refresh` does where the state is the loop's: it checks the settings."""
        check_pipeline(pipeline, ("model",))
        check_count("num_inference_steps", num_inference_steps, 1)
        self.policy(pipeline.model, num_inference_steps)
        if verbose:
            name = type(self).__name__
            _log.info("%s starts clean for %d steps", name, num_inference_steps)

    def disable(self, pipeline: Any) -> None:
        """Gives the pipeline its own sampler back.

        Raises:
            ValueError: if this backend is not enabled on the pipeline.
        """
        if not self._wraps(pipeline):
            name = type(self).__name__
            raise ValueError(f"{name} is not enabled on this pipeline")
        inner, wrapped = pipeline.sampler.func, pipeline.sampler
        kept = {k: x for k, x in wrapped.keywords.items() if k != "cache"}
        # A partial of a partial is one partial: take out what was put in, no more.
        pipeline.sampler = (
            functools.partial(inner, *wrapped.args, **kept)
            if wrapped.args or kept
            else inner
        )
        self.enabled = False

    def is_enabled(self) -> bool:
        """Whether a pipeline is wrapped."""
        return self.enabled

    def __repr__(self) -> str:
        """The backend's name and settings."""
        return f"{type(self).__name__}(config={self.config})"

    def _wrap(self, pipeline: Any) -> None:
        check_pipeline(pipeline, ("sampler",))
        wrapped = getattr(pipeline.sampler, "keywords", {}).get("cache")
        if isinstance(wrapped, CacheBackend):
            raise ValueError(
                f"the pipeline already has {type(wrapped).__name__}; disable it first"
            )
        if self.enabled:
            raise ValueError(
                f"{type(self).__name__} is enabled on another pipeline; make one for "
                "each"
            )
        pipeline.sampler = functools.partial(pipeline.sampler, cache=self)
        self.enabled = True

    def _wraps(self, pipeline: Any) -> bool:
        sampler = getattr(pipeline, "sampler", None)
        return getattr(sampler, "keywords", {}).get("cache") is self


def check_pipeline(pipeline: Any, parts: Sequence[str] = ("sampler", "model")) -> None:
    """Checks that something is a pipeline.

    Args:
        pipeline: what was given.
        parts: what it must have.

    Raises:
        ValueError: if it lacks one.
    """
    for part in parts:
        found = getattr(pipeline, part, None)
        callable_ = part != "sampler" or callable(found)
        if found is None or isinstance(pipeline, type) or not callable_:
            raise ValueError(
                f"{type(pipeline).__name__} has no {part} that a cache could wrap; "
                "give a pipeline, such as Pipeline(params)"
            )
