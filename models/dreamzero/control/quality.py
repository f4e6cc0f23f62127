"""What a robot may ask of its control step: steps, thresholds, budget, guidance.

Only numbers that the compiled program takes as data, so that no request makes others
wait for a compiler.
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import jax
import numpy as np

from jax_stepcache.backends import (
    BespokeBackend,
    CacheBackend,
    CacheDiTBackend,
    DiffusionCacheConfig,
    FirstBlockCacheBackend,
    MagCacheBackend,
    SeaCacheBackend,
    StepCacheBackend,
    TeaCacheBackend,
    TunedBackend,
)
from jax_stepcache.backends.selector import backend_name
from jax_stepcache.check import check_count, check_numbers
from jax_stepcache.errors import brief, unknown_name
from jax_stepcache.network.params import Params

from .checks import checked_options

# What a cache compares with, which is data of its program, by backend.
_THRESHOLDS: Mapping[type[CacheBackend], tuple[str, ...]] = MappingProxyType(
    {
        StepCacheBackend: ("velocity_sim_thresholds", "velocity_skip_countdowns"),
        TeaCacheBackend: ("rel_l1_thresh",),
        CacheDiTBackend: ("residual_diff_threshold",),
        FirstBlockCacheBackend: ("threshold",),
        MagCacheBackend: ("mag_threshold",),
        SeaCacheBackend: ("sea_threshold",),
    }
)

# Beyond it a step overflows, or says nothing of the prompt any more.
_STRONGEST = 100.0

# Robots ask for the same at every step, and a backend takes a millisecond to check.
_REMEMBERED = 64


class Served(Protocol):
    """What is asked of a pipeline that robots are served by: `CachedSampler`, and more.

    Attributes:
        params: the weights.
        model: theirs.
        sampler: `sample`, perhaps with a cache filled in.
        cache_backend: that one, or None.
    """

    params: Params
    model: Any
    sampler: Any
    cache_backend: CacheBackend | None

    @property
    def guidance_scale(self) -> float:
        """The usual guidance scale."""
        ...

    @property
    def guided(self) -> bool:
        """Whether both branches run."""
        ...


class Quality:
    """What is allowed, and what becomes of it.

    Attributes:
        options: of each name in words what is allowed.
        unavailable: of the other names why they are not taken.
        most_steps: solver steps that a request may ask for.
    """

    def __init__(self, pipeline: Served, most_steps: int | None = None) -> None:
        """Looks at a pipeline.

        Args:
            pipeline: whose steps are taken.
            most_steps: solver steps that a request may ask for; None for the model's
                own number.

        Raises:
            ValueError: if no step can be taken with the pipeline's cache, or for a
                number that does not fit.
        """
        preset = getattr(pipeline.sampler, "keywords", {})
        checked_options(pipeline.params, preset, pipeline.guidance_scale, {}, 1)
        self._pipeline = pipeline
        own = pipeline.model.defaults.num_inference_steps
        self.most_steps = own if most_steps is None else most_steps
        check_count("most_steps", self.most_steps, own)
        backend = pipeline.cache_backend
        self._checked: dict[Hashable, CacheBackend] = {}
        self._thresholds = _THRESHOLDS.get(type(backend), ()) if backend else ()
        self._budgets: list[int] = []
        self.options: dict[str, str] = {}
        # Other caches bring steps of their own, or a mask that is made for a number.
        if backend is None or self._thresholds:
            self.options["num_inference_steps"] = f"1 to {self.most_steps}"
        if self._thresholds:
            names = ", ".join(self._thresholds)
            self.options["cache_config"] = f"a map with {names}"
        # A table that was given has no budget, and others none of its calls.
        if (
            isinstance(backend, TunedBackend | BespokeBackend)
            and backend.config.budget is not None
        ):
            self._budgets = self._found()
            budgets = ", ".join(map(str, self._budgets))
            self.options["budget"] = f"network calls, one of {budgets}"
        if pipeline.guided:
            self.options["guidance_scale"] = (
                f"a number of {-_STRONGEST:g} to {_STRONGEST:g} other than 1"
            )
        self.unavailable = _unavailable(self.options, backend)

    @property
    def variants(self) -> list[dict[str, Any]]:
        """Options that run another compiled program than none do.

        With a cache inside the network the number of calls is known where all robots
        take the most steps, and that is a program of its own.
        """
        own = self._pipeline.model.defaults.num_inference_steps
        other = self.most_steps if own < self.most_steps else own - 1
        if "num_inference_steps" not in self.options or other < 1:
            return []
        return [{"num_inference_steps": other}]

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
            with _told("num_inference_steps"):
                check_count("num_inference_steps", steps, 1)
                given["num_inference_steps"] = steps = int(steps)
                if steps > self.most_steps:
                    raise ValueError(
                        f"num_inference_steps is {brief(steps)}; at most "
                        f"{self.most_steps} are taken here"
                    )
        scale = given.get("guidance_scale")
        if scale is not None:
            with _told("guidance_scale"):
                check_numbers(
                    "guidance_scale", scale, least=-_STRONGEST, most=_STRONGEST
                )
                if scale == 1:
                    raise ValueError("guidance_scale is 1; sessions here are guided")
                given["guidance_scale"] = float(scale)
        if "cache_config" in given:
            config = given.pop("cache_config")
            if not isinstance(config, Mapping):
                raise TypeError(f"cache_config is {brief(config)}; send a map")
            for name in config:
                if name not in self._thresholds:
                    raise ValueError(unknown_name("threshold", name, self._thresholds))
            with _told(*config):
                given["cache"] = self._backend(config, steps)
        if "budget" in given:
            with _told("budget"):
                check_count("budget", given["budget"], 1)
                budget = int(given.pop("budget"))
                if budget not in self._budgets:
                    allowed = ", ".join(map(str, self._budgets))
                    raise ValueError(
                        f"budget is {brief(budget)}; this server takes {allowed}"
                    )
            given["cache"] = self._backend({"budget": budget}, None)
        return given

    def _found(self) -> list[int]:
        """Those that may stand in place of the pipeline's own."""
        found = []
        for budget in range(1, self.most_steps + 1):
            with contextlib.suppress(ValueError):
                self._backend({"budget": budget}, None)
                found.append(budget)
        return found

    def _backend(self, config: Mapping[str, Any], steps: int | None) -> CacheBackend:
        """The pipeline's backend with other numbers."""
        key = (steps, tuple((name, _frozen(config[name])) for name in sorted(config)))
        found = self._checked.get(key)
        if found is None:
            found = self._made(config, steps)
            if len(self._checked) >= _REMEMBERED:
                del self._checked[next(iter(self._checked))]
            self._checked[key] = found
        return found

    def _made(self, config: Mapping[str, Any], steps: int | None) -> CacheBackend:
        backend = self._pipeline.cache_backend
        assert backend is not None  # or there would be no such option
        other = type(backend)(
            DiffusionCacheConfig.from_dict({**vars(backend.config), **config})
        )
        model = self._pipeline.model
        count = model.defaults.num_inference_steps if steps is None else steps
        if _program(backend, model, count) != _program(other, model, count):
            own = {name: getattr(backend.config, name) for name in config}
            raise ValueError(
                f"{brief(dict(config))[1:-1]} would be another program than the "
                f"server's {brief(own)[1:-1]}; give other numbers, and as many"
            )
        return other


def _unavailable(
    options: Mapping[str, str], backend: CacheBackend | None
) -> dict[str, str]:
    """Why names of other pipelines' options are not taken, behind "is not taken"."""
    here = "here, without a cache"
    if backend is not None:
        here = f"with this server's cache ({backend_name(backend)!r})"
    why = {
        "num_inference_steps": f"{here}, which brings steps of its own",
        "cache_config": here,
        "budget": f"{here}; 'tuned' and 'bespoke' have budgets",
        "guidance_scale": "here: this server's sessions are not guided",
    }
    return {name: said for name, said in why.items() if name not in options}


@contextlib.contextmanager
def _told(*names: str) -> Iterator[None]:
    """Puts names before errors that say none of them, such as NumPy's own."""
    try:
        yield
    except (TypeError, ValueError, OverflowError) as error:
        if any(name in str(error) for name in names):
            raise
        raise ValueError(f"{', '.join(names)}: {error}") from error


def _frozen(value: Any) -> Hashable:
    """What a value is told apart by; True is no 1."""
    if isinstance(value, np.ndarray | np.generic):
        return "array", str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    return type(value).__name__, repr(value)


def _program(backend: CacheBackend, model: Any, steps: int) -> Any:
    """What a backend's requests are compiled for."""
    tables = backend.tables(model, {})
    if tables is not None:
        # Of any number of calls: requests' tables are padded to the most steps.
        return jax.tree.structure(tables), None
    leaves, tree = jax.tree.flatten(backend.policy(model, steps))
    return tree, [(np.shape(x), np.result_type(x)) for x in leaves]
