"""StepCache decides as vLLM-Omni's did, step by step, and gives its numbers.

Each recorded file is one of three kinds, told apart by its settings: those that this
library reproduces, those whose settings it refuses, and those in which the original was
not reset between two generations and carried a stale countdown over.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import (
    DiffusionCacheConfig,
    Pipeline,
    Policy,
    SampleResult,
    StepCacheBackend,
    StepCacheConfig,
    StepCacheState,
    View,
    sample,
)
from jax_stepcache.loop.gated import gated
from jax_stepcache.network.own import FunctionModel

from ..networks import counted_steps
from ..plain_step_cache import plain_cosine, plain_step_cache
from .cases import caches_files, parametrize
from .toy_run import ToyRun, assert_close, config_of, generations, load, run_toy

_SETTINGS = {
    "velocity_sim_thresholds": [0.95, 0.93],
    "velocity_skip_countdowns": [4, 2],
    "step_cache_dit_min_history": 2,
    "step_cache_dit_max_history": 2,
    "step_cache_dit_enabled": True,
}


@dataclass
class Recorded:
    """A recorded file."""

    path: Path

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return load(self.path)

    @property
    def config(self) -> dict[str, Any]:
        return config_of(self.path)

    @property
    def settings(self) -> dict[str, Any]:
        """StepCache's settings, the original's defaults where nothing is said."""
        return {k: self.config.get(k, default) for k, default in _SETTINGS.items()}

    @property
    def rule(self) -> dict[str, Any]:
        """The same as arguments of the plain rule."""
        names = ("thresholds", "countdowns", "min_history", "max_history")
        return dict(zip(names, list(self.settings.values())[:4], strict=True))

    @property
    def generations(self) -> list[slice]:
        """The steps of each generation."""
        return generations(self.path)

    @property
    def velocities(self) -> np.ndarray:
        """[steps, batch, ...]: what the network says, where it is asked."""
        name = "v_seq" if self.is_sequence else "velocity"
        return self.arrays[name]

    @property
    def is_sequence(self) -> bool:
        """Whether velocities were given, rather than computed by the toy."""
        return "v_seq" in self.arrays

    @property
    def is_boundary(self) -> bool:
        """Whether a cosine sits on a threshold to the last bit of float32."""
        return bool(self.config.get("fragile", False))

    def kind(self) -> str:
        """Which kind of case this is."""
        thresholds, countdowns = self.rule["thresholds"], self.rule["countdowns"]
        fits = (
            len(thresholds) == len(countdowns) > 0
            and all(-1 <= threshold <= 1 for threshold in thresholds)
            and all(np.diff(thresholds) < 0)
            and min(countdowns) >= 1
            and 2 <= self.rule["min_history"] <= self.rule["max_history"]
        )
        if not fits:
            return "refused"
        clean = len(self.generations) == 1 or self.config.get("reset_between", False)
        remembers = self.settings["step_cache_dit_enabled"]
        return "reproduced" if clean or not remembers else "stale"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    kinds = {"reproduced", "refused", "stale"} & set(metafunc.fixturenames)
    if not kinds:
        return
    (kind,) = kinds
    files = [
        recorded
        for path in caches_files(metafunc.config, "stepcache_*.npz")
        if (recorded := Recorded(path)).kind() == kind
    ]
    ids = [f"caches-{recorded.path.name}" for recorded in files]
    # Walks over the recorded velocities share their programs; runs are compiled each.
    runs = metafunc.function is test_sampler_matches_original
    kinds = [str(recorded.is_sequence) for recorded in files] if runs else None
    parametrize(metafunc, kind, files, ids, kinds)


def test_sampler_matches_original(reproduced: Recorded) -> None:
    """`sample` computes the same steps and signals, and the same numbers at each."""
    for steps in reproduced.generations:
        result, run = _sample(reproduced, steps)
        assert result.stats.model_calls == result.stats.computed.sum()
        count = steps.stop - steps.start
        computed, signal = (np.asarray(x)[:count] for x in result.stats[:2])
        _assert_decided_alike(reproduced, steps, computed, signal)
        asked = reproduced.velocities[steps][computed]
        assert bool(result.stats.nonfinite) != np.isfinite(asked).all()
        if run is not None:
            assert_close("x", run.x, reproduced.arrays["x"])
            assert_close("velocity", run.velocity, reproduced.arrays["velocity"])


def test_policy_in_a_compiled_loop_matches_original(reproduced: Recorded) -> None:
    """The policy's countdown and history go through the same values in `lax.scan`."""
    for steps in reproduced.generations:
        computed, signal, countdown, history = _scan_policy(reproduced, steps)
        _assert_decided_alike(reproduced, steps, computed, signal)
        _assert_remembered_alike(reproduced, steps, computed, countdown, history)


def test_state_by_hand_matches_original(reproduced: Recorded) -> None:
    """`StepCacheState`, stepped in a loop of one's own, goes the same way."""
    for steps in reproduced.generations:
        computed, signal, countdown, history = _scan_state(reproduced, steps)
        _assert_decided_alike(reproduced, steps, computed, signal)
        _assert_remembered_alike(reproduced, steps, computed, countdown, history)


def test_settings_that_cannot_work_are_refused(refused: Recorded) -> None:
    """Settings that reuse forever or never are errors before anything is traced."""

    def never(*_: Any) -> Any:
        raise AssertionError("the network was traced")

    settings = DiffusionCacheConfig.from_dict(refused.settings)
    with pytest.raises(ValueError, match=r"step_cache_dit_|velocity_s"):
        StepCacheConfig.from_diffusion_cache_config(settings)
    with pytest.raises(ValueError, match=r"step_cache_dit_|velocity_s"):
        sample(
            (),
            model=never,
            noise=jnp.zeros((1, 2)),
            cache="step_cache",
            cache_config=refused.settings,
        )


def test_each_generation_starts_clean(stale: Recorded) -> None:
    """Without a refresh in between, the second generation is as if sampled alone."""
    pipeline = Pipeline(
        jnp.asarray(stale.velocities),
        model=_lookup,
        cache_backend="step_cache",
        cache_config=stale.settings,
    )
    for steps in stale.generations:
        result = pipeline(
            noise=jnp.zeros(stale.velocities.shape[1:]),
            condition=jnp.int32(steps.start),
            schedule=counted_steps(steps.stop - steps.start),
            solver="euler",
        )
        velocities = stale.velocities[steps]

        def cosine(step: int, ran: list[int], v: np.ndarray = velocities) -> float:
            del step
            return plain_cosine(v[ran[-2]], v[ran[-1]])

        alone = plain_step_cache(len(velocities), cosine, **stale.rule)
        assert np.asarray(result.stats.computed).tolist() == [s.computed for s in alone]
    first = stale.generations[0]
    computed, *_ = _scan_policy(stale, first)
    assert computed.tolist() == stale.arrays["computed"][first].tolist()


def test_recorded_runs_reuse_and_compute(pytestconfig: pytest.Config) -> None:
    """The comparison is not an empty one: steps were skipped in it, and computed."""
    ran = [
        recorded.arrays["computed"]
        for path in caches_files(pytestconfig, "stepcache_*.npz")
        if (recorded := Recorded(path)).kind() == "reproduced"
    ]
    if not ran:
        pytest.skip("no recorded run of StepCache")
    assert np.concatenate(ran).any()
    assert not np.concatenate(ran).all()


def _sample(recorded: Recorded, steps: slice) -> tuple[SampleResult, ToyRun | None]:
    """One generation through the real sampler, and what the toy's solver saw."""
    shared = {"cache": "step_cache", "cache_config": recorded.settings}
    if not recorded.is_sequence:
        run = run_toy(recorded.path, **shared, steps=steps)
        return run.result, run
    velocities = _padded(recorded.velocities[steps], 16)
    result = sample(
        velocities,
        model=_lookup,
        noise=jnp.zeros_like(velocities[0]),
        condition=jnp.int32(0),
        schedule=counted_steps(len(velocities)),
        solver="euler",
        **shared,
    )
    return result, None


def _lookup(velocities: Any, x: Any, t: jax.Array, start: jax.Array) -> jax.Array:
    """A network that says what was recorded; its timesteps count the steps."""
    del x
    return velocities[start + t[0].astype(jnp.int32)]


class _Walked(NamedTuple):
    """What a loop over given velocities did: [steps] arrays."""

    computed: np.ndarray
    signal: np.ndarray
    countdown: np.ndarray
    history: np.ndarray

    @classmethod
    def trim(cls, walked: Any, steps: slice) -> _Walked:
        """Drops the steps that padding added."""
        return cls(
            *(np.asarray(column)[: steps.stop - steps.start] for column in walked)
        )


def _padded(velocities: np.ndarray, multiple: int = 64) -> jax.Array:
    """Zeros after the last step and the last feature, so that cases share a program."""
    flat = velocities.reshape(*velocities.shape[:2], -1)
    more = [-flat.shape[0] % multiple, 0, -flat.shape[2] % multiple]
    return jnp.asarray(np.pad(flat, [(0, n) for n in more]))


def _scan_policy(recorded: Recorded, steps: slice) -> _Walked:
    """The backend's policy behind the real gate, over the recorded velocities."""
    velocities = _padded(recorded.velocities[steps])
    backend = StepCacheBackend(recorded.settings)
    policy = backend.policy(FunctionModel(_lookup), len(velocities))
    return _Walked.trim(_walk_policy(policy, velocities), steps)


@jax.jit
def _walk_policy(policy: Policy, velocities: jax.Array) -> Any:
    def step(state: Any, i: jax.Array) -> Any:
        view = View(i, jnp.float32(0), velocities[0])
        _, decision = gated(policy, state, view, run=lambda: velocities[i])
        gate = getattr(decision.state, "gate", None)
        memory = (gate.skip_countdown, gate.history_length) if gate else (0, 0)
        return decision.state, (jnp.asarray(decision.run), decision.signal, *memory)

    start = View(jnp.int32(0), jnp.float32(0), velocities[0])
    state = policy.init(start, len(velocities))
    return jax.lax.scan(step, state, jnp.arange(len(velocities)))[1]


def _scan_state(recorded: Recorded, steps: slice) -> _Walked:
    """`StepCacheState` in a loop of one's own, over the recorded velocities."""
    settings = DiffusionCacheConfig.from_dict(recorded.settings)
    config = StepCacheConfig.from_diffusion_cache_config(settings)
    walked = _walk_state(
        _padded(recorded.velocities[steps]),
        jnp.asarray(config.sim_thresholds),
        jnp.asarray(config.skip_countdowns),
        (config.enabled, config.min_history_steps, config.max_history),
    )
    return _Walked.trim(walked, steps)


@functools.partial(jax.jit, static_argnums=3)
def _walk_state(
    velocities: jax.Array,
    thresholds: jax.Array,
    countdowns: jax.Array,
    static: tuple[bool, int, int],
) -> Any:
    config = StepCacheConfig(*static, thresholds, countdowns)

    def step(state: StepCacheState, velocity: jax.Array) -> Any:
        tested = (state.history_length >= config.min_history_steps) & (
            state.skip_countdown == 0
        )
        signal = jnp.where(tested & config.enabled, state.similarity(), jnp.nan)
        run, state = state.should_run_step(config)
        state = jax.lax.cond(run, lambda s: s.append(velocity), lambda s: s, state)
        return state, (run, signal, state.skip_countdown, state.history_length)

    return jax.lax.scan(step, StepCacheState.init(velocities[0], config), velocities)[1]


def _assert_decided_alike(
    recorded: Recorded, steps: slice, computed: np.ndarray, signal: Any
) -> None:
    """Same steps, and the same signal where there was one.

    On a float32 boundary the last bit of the cosine decides, and it depends on the
    order of a sum. There, the decision must be the one that our own cosine implies, and
    the cosine within four such bits of the recorded one.
    """
    theirs, expected = recorded.arrays["signal"][steps], recorded.arrays["computed"]
    signal = np.asarray(signal)
    if recorded.is_boundary:
        rule = plain_step_cache(
            len(computed), lambda step, _: signal[step], **recorded.rule
        )
        assert computed.tolist() == [step.computed for step in rule]
        both = ~np.isnan(signal) & ~np.isnan(theirs)
        assert both.any()
        assert np.abs(signal - theirs)[both].max() <= 4 * np.finfo(np.float32).epsneg
        if not np.array_equal(signal, theirs.astype(np.float32), equal_nan=True):
            return
    assert computed.tolist() == expected[steps].tolist()
    assert np.isnan(signal).tolist() == np.isnan(theirs).tolist()
    assert_close("signal", np.nan_to_num(signal), np.nan_to_num(theirs))


def _assert_remembered_alike(
    recorded: Recorded,
    steps: slice,
    computed: np.ndarray,
    countdown: np.ndarray,
    history: np.ndarray,
) -> None:
    if computed.tolist() != recorded.arrays["computed"][steps].tolist():
        assert recorded.is_boundary
        return
    assert countdown.tolist() == recorded.arrays["countdown_after"][steps].tolist()
    if "history_len_after" in recorded.arrays and recorded.config.get(
        "step_cache_dit_enabled", True
    ):
        # Disabled, the original's history grows without bound; ours is not kept.
        assert history.tolist() == recorded.arrays["history_len_after"][steps].tolist()
