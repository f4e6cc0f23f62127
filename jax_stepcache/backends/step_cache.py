"""StepCache under vLLM-Omni's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.backends.base import CacheBackend
from jax_stepcache.backends.config import DiffusionCacheConfig, check_output
from jax_stepcache.backends.experts import has_settings_of_each, of_each
from jax_stepcache.check import check_flag
from jax_stepcache.errors import naming_fields
from jax_stepcache.network.protocol import Model
from jax_stepcache.policy.gates import Tiers, TiersState
from jax_stepcache.policy.named import Uncached, step_cache
from jax_stepcache.policy.named.step_cache import check_tiers
from jax_stepcache.policy.policy import Policy
from jax_stepcache.policy.signals.cosine import cosine_per_sample


@naming_fields()
@dataclass(frozen=True)
class StepCacheConfig:
    """StepCache's own settings.

    Attributes:
        enabled: whether to skip at all.
        min_history_steps: computed velocities before the first reuse, at least 2.
        max_history: velocities kept, at least ``min_history_steps``.
        sim_thresholds: cosine of each tier, falling, in [-1, 1].
        skip_countdowns: countdown of each tier, at least 1.
    """

    enabled: bool = True
    min_history_steps: int = 2
    max_history: int = 2
    sim_thresholds: Any = (0.95, 0.93)
    skip_countdowns: Any = (4, 2)

    def __post_init__(self) -> None:
        """Checks the settings; see `jax_stepcache.policy.named.step_cache`."""
        check_flag("step_cache_dit_enabled", self.enabled)
        check_tiers(
            self.sim_thresholds,
            self.skip_countdowns,
            self.min_history_steps,
            self.max_history,
        )

    @classmethod
    def from_diffusion_cache_config(
        cls, config: DiffusionCacheConfig
    ) -> StepCacheConfig:
        """Picks StepCache's settings from those of all backends."""
        return cls(
            enabled=config.step_cache_dit_enabled,
            min_history_steps=config.step_cache_dit_min_history,
            max_history=config.step_cache_dit_max_history,
            sim_thresholds=config.velocity_sim_thresholds,
            skip_countdowns=config.velocity_skip_countdowns,
        )


class StepCacheState(NamedTuple):
    """StepCache stepped by hand, for a loop that is not this library's.

    A pytree of fixed structure: it may be the carry of a `lax` loop. Inside `sample`
    the same rule runs as a policy, which remembers less.

    Attributes:
        history: the last computed velocities, newest last, as many as are kept.
        history_length: int32 scalar, how many of them have been computed.
        skip_countdown: int32 scalar.
    """

    history: tuple[jax.Array, ...]
    history_length: jax.Array
    skip_countdown: jax.Array

    @classmethod
    def init(
        cls, velocity: jax.Array, config: StepCacheConfig | None = None
    ) -> StepCacheState:
        """Makes an empty state for velocities of this shape, [batch, ...]."""
        kept = (config or StepCacheConfig()).max_history
        history = tuple(jnp.zeros_like(velocity) for _ in range(kept))
        return cls(history, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def similarity(self) -> jax.Array:
        """Cosine of the last two velocities, averaged over the batch, float32."""
        return cosine_per_sample(self.history[-2], self.history[-1]).mean()

    def should_run_step(
        self, config: StepCacheConfig | None = None
    ) -> tuple[jax.Array, StepCacheState]:
        """Decides about the next step.

        Args:
            config: the settings; None for the defaults.

        Returns:
            A bool scalar, whether to run the network, and the state after deciding.

        Raises:
            ValueError: if the state keeps fewer velocities than the settings ask for.
        """
        config = config or StepCacheConfig()
        if not config.enabled:
            return jnp.asarray(True), self
        if len(self.history) < config.min_history_steps:
            raise ValueError(
                f"the state keeps {len(self.history)} velocities and min_history_steps "
                f"is {config.min_history_steps}; make it with StepCacheState.init("
                "velocity, config)"
            )
        gate = Tiers(
            jnp.asarray(config.sim_thresholds, jnp.float32),
            jnp.asarray(config.skip_countdowns, jnp.int32),
            config.min_history_steps,
            config.max_history,
        )
        before = TiersState(self.skip_countdown, self.history_length)
        verdict = gate.decide(before, jnp.zeros((), jnp.int32), self.similarity())
        return verdict.run, self._replace(skip_countdown=verdict.state.skip_countdown)

    def append(self, velocity: jax.Array) -> StepCacheState:
        """Takes in a velocity that the network has computed."""
        longer = jnp.minimum(self.history_length + 1, len(self.history))
        return self._replace(
            history=(*self.history[1:], velocity), history_length=longer
        )

    def trim_history(self, max_history: int) -> StepCacheState:
        """Keeps no more than the last ``max_history`` velocities.

        Raises:
            ValueError: below 2, which a cosine needs.
        """
        if max_history < 2:
            raise ValueError(f"max_history is {max_history}; it must be at least 2")
        kept = jnp.minimum(self.history_length, max_history)
        return self._replace(history=self.history[-max_history:], history_length=kept)

    def reset(self) -> StepCacheState:
        """The state before the first step of a generation."""
        return jax.tree.map(jnp.zeros_like, self)


class StepCacheBackend(CacheBackend):
    """Skips whole forwards while the velocity keeps its direction."""

    def policy(self, model: Model, num_inference_steps: int) -> Policy:
        """See `CacheBackend.policy`."""
        if num_inference_steps < 1:
            raise ValueError(
                f"num_inference_steps is {num_inference_steps}; it must be at least 1"
            )
        if has_settings_of_each(self.config, model):
            # Without, what was computed counts on across the change, as in vLLM-Omni.
            return of_each(self, model, lambda backend: backend._composed(model))
        return self._composed(model)

    def _composed(self, model: Model) -> Policy:
        config = StepCacheConfig.from_diffusion_cache_config(self.config)
        if not config.enabled:
            return Uncached()
        check_output(self.config.signal_output)
        output = self.config.signal_output or model.signal_output
        return step_cache(
            config.sim_thresholds,
            config.skip_countdowns,
            config.min_history_steps,
            config.max_history,
            output=None if output == "lowest" else output,
            forecast="hold" if self.config.forecast is None else self.config.forecast,
        )

    def enable(self, pipeline: Any) -> None:
        """See `CacheBackend.enable`; the pipeline's class must have an enabler."""
        names = [cls.__name__ for cls in type(pipeline).__mro__]
        enabler = next(
            (
                CUSTOM_STEPCACHE_ENABLERS[name]
                for name in names
                if name in CUSTOM_STEPCACHE_ENABLERS
            ),
            None,
        )
        if enabler is None:
            raise ValueError(
                f"step_cache backend does not support {type(pipeline).__name__}. "
                f"Supported: {sorted(CUSTOM_STEPCACHE_ENABLERS)}"
            )
        enabler(pipeline, self)

    def refresh(
        self, pipeline: Any, num_inference_steps: int, verbose: bool = True
    ) -> None:
        """See `CacheBackend.refresh`."""
        self._prepare(pipeline, num_inference_steps, verbose)


def enable_dreamzero_stepcache(
    pipeline: Any,
    backend: StepCacheBackend | DiffusionCacheConfig | Mapping[str, Any] | None = None,
) -> None:
    """Enables StepCache on a pipeline whose sampler takes ``cache=``.

    Args:
        pipeline: a pipeline.
        backend: the backend, or the settings of one to be made, as in vLLM-Omni; None
            for the defaults.

    Raises:
        ValueError: if the pipeline has no sampler, or has a cache already, or for
            unknown settings.
        TypeError: if the settings are of the wrong kind.
    """
    if not isinstance(backend, StepCacheBackend):
        backend = StepCacheBackend(backend)
    backend._wrap(pipeline)


# Pipelines by class name; a class of your own joins by adding its enabler here. All of
# ours are of the first.
CUSTOM_STEPCACHE_ENABLERS: dict[str, Callable[[Any, StepCacheBackend], None]] = {
    "CachedSampler": enable_dreamzero_stepcache,
    "DreamZeroPipeline": enable_dreamzero_stepcache,
    "Pipeline": enable_dreamzero_stepcache,
}


def is_stepcache_active(pipeline: Any) -> bool:
    """Whether StepCache is enabled on a pipeline and set to skip."""
    backend = _backend_of(pipeline)
    return backend is not None and backend.config.step_cache_dit_enabled


def get_stepcache_config(pipeline: Any) -> StepCacheConfig | None:
    """StepCache's settings on a pipeline, or None where it is not enabled."""
    backend = _backend_of(pipeline)
    if backend is None:
        return None
    return StepCacheConfig.from_diffusion_cache_config(backend.config)


def get_stepcache_state(
    pipeline: Any, velocity: jax.Array | None = None
) -> StepCacheState | None:
    """The state with which a generation on this pipeline starts.

    The running state is in the compiled loop's carry and cannot be looked at from
    outside; what it did is in `SampleResult.stats`.

    Args:
        pipeline: a pipeline.
        velocity: an array of the velocity's shape, [batch, ...]; None for a state of
            velocities with one number.

    Returns:
        A clean state, or None where StepCache is not enabled.
    """
    config = get_stepcache_config(pipeline)
    like = jnp.zeros((1, 1)) if velocity is None else velocity
    return None if config is None else StepCacheState.init(like, config)


def _backend_of(pipeline: Any) -> StepCacheBackend | None:
    sampler = getattr(pipeline, "sampler", None)
    backend = getattr(sampler, "keywords", {}).get("cache")
    return backend if isinstance(backend, StepCacheBackend) else None


# vLLM-Omni's older names.
CUSTOM_STEP_CACHE_DIT_ENABLERS = CUSTOM_STEPCACHE_ENABLERS
enable_dreamzero_step_cache_dit = enable_dreamzero_stepcache
StepCacheDiTBackend = StepCacheBackend
StepCacheDiTConfig = StepCacheConfig
StepCacheDiTState = StepCacheState
