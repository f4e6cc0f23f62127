"""What a robot may ask of its control step: steps, thresholds, budget, guidance.

Only numbers that the compiled program takes as data, so that no request makes others
wait for a compiler.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jax_stepcache.backends import CacheBackend, DiffusionCacheConfig, TunedBackend
from jax_stepcache.check import check_count, check_numbers
from jax_stepcache.errors import brief, unknown_name

from .pipeline import LatentPipeline

_THRESHOLDS = ("thresh", "threshold", "thresholds", "countdowns")


class Quality:
    """What is allowed, and what becomes of it.

    Attributes:
        options: of each name in words what is allowed.
        most_steps: solver steps that a request may ask for.
    """

    def __init__(self, pipeline: LatentPipeline, most_steps: int | None = None) -> None:
        """Looks at a pipeline.

        Args:
            pipeline: whose steps are taken.
            most_steps: solver steps that a request may ask for; None for the model's
                own number.
        """
        self._pipeline = pipeline
        own = pipeline.model.defaults.num_inference_steps
        self.most_steps = own if most_steps is None else most_steps
        check_count("most_steps", self.most_steps, own)
        backend = pipeline.cache_backend
        # Whether the cache brings its own steps: a table, or a mask made for a number.
        budgeted = isinstance(backend, TunedBackend)
        self.options: dict[str, str] = {}
        if not budgeted:
            self.options["num_inference_steps"] = f"1 to {self.most_steps}"
        self._thresholds = _thresholds(backend)
        if self._thresholds:
            names = ", ".join(sorted(self._thresholds))
            self.options["cache_config"] = f"a map with {names}"
        if budgeted:
            self.options["budget"] = "network calls, of a schedule that the model has"
        if pipeline.guided:
            self.options["guidance_scale"] = "a number other than 1"

    def asked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Makes options of `LatentPipeline.step_many` of what a robot asks for.

        Args:
            options: names of `options` only.

        Returns:
            The options of this robot.

        Raises:
            ValueError: for what is not allowed, naming it.
            TypeError: likewise.
        """
        given = dict(options)
        steps = given.get("num_inference_steps")
        if steps is not None:
            check_count("num_inference_steps", steps, 1)
            if int(steps) > self.most_steps:
                raise ValueError(
                    f"num_inference_steps is {steps}; at most {self.most_steps} are "
                    "taken here"
                )
            given["num_inference_steps"] = int(steps)
        scale = given.get("guidance_scale")
        if scale is not None:
            check_numbers("guidance_scale", scale)
            given["guidance_scale"] = float(scale)
        if "cache_config" in given:
            given["cache"] = self._backend(given.pop("cache_config"), steps)
        return given

    def _backend(self, config: Any, steps: int | None) -> CacheBackend:
        """The pipeline's backend with other thresholds."""
        backend = self._pipeline.cache_backend
        assert backend is not None  # or there would be no such option
        if not isinstance(config, Mapping):
            raise TypeError(f"cache_config is {brief(config)}; send a map")
        for name in config:
            if name not in self._thresholds:
                raise ValueError(
                    unknown_name("threshold", name, sorted(self._thresholds))
                )
        other = type(backend)(
            DiffusionCacheConfig.from_dict({**vars(backend.config), **config})
        )
        model = self._pipeline.model
        steps = model.defaults.num_inference_steps if steps is None else steps
        ours, theirs = backend.policy(model, steps), other.policy(model, steps)
        if _structure(ours) != _structure(theirs):
            raise ValueError(
                f"cache_config is {brief(dict(config))}; other numbers are taken, and "
                "no more or fewer of them than the server's own: "
                f"{brief({name: getattr(backend.config, name) for name in config})}"
            )
        return other


def _thresholds(backend: CacheBackend | None) -> frozenset[str]:
    if backend is None or isinstance(backend, TunedBackend):
        return frozenset()
    return frozenset(
        name for name in vars(backend.config) if name.split("_")[-1] in _THRESHOLDS
    )


def _structure(policy: Any) -> Any:
    leaves, tree = jax.tree.flatten(policy)
    return tree, [(np.shape(x), np.result_type(x)) for x in leaves]
