"""Recorded generations of the toy, through the real sampler."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback

from jax_stepcache import Euler, SampleResult, explicit_schedule, sample

from .toy import Toy

TOLERANCE = 1e-4  # absolute, float32

# Our names of the originals, and of their settings.
_CACHES: Mapping[str, tuple[str, dict[str, str]]] = {
    "teacache": (
        "tea_cache",
        {"rel_l1_thresh": "rel_l1_thresh", "coefficients": "coefficients"},
    ),
    "dbcache": ("cache_dit", {}),
    "dbprune": ("db_prune", {}),
    "magcache": (
        "mag_cache",
        {
            "mag_ratios": "mag_ratios",
            "threshold": "mag_threshold",
            "max_skip_steps": "mag_max_skip_steps",
            "retention_ratio": "mag_retention_ratio",
        },
    ),
    "seacache": (
        "sea_cache",
        {
            "threshold": "sea_threshold",
            "residual_order": "sea_residual_order",
            "max_consecutive_cached": "sea_max_consecutive_cached",
            "power_exp": "sea_power_exp",
        },
    ),
    "fbc": ("first_block_cache", {"threshold": "threshold"}),
    "dtaylor": (
        "taylor_seer",
        {
            "cache_interval": "cache_interval",
            "disable_cache_before_step": "disable_cache_before_step",
            "disable_cache_after_step": "disable_cache_after_step",
            "max_order": "max_order",
        },
    ),
}
# DBCache's settings have their names here, but for these.
_OTHERWISE = {
    "steps_computation_mask": "steps_mask",
    "steps_computation_policy": "scm_steps_policy",
}


@dataclass(frozen=True, eq=False)
class Taped(Euler):
    """Euler that also shows the host each sample and velocity it is given."""

    tape: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def step(
        self, row: jax.Array, state: tuple[()], sample: jax.Array, velocity: jax.Array
    ) -> tuple[jax.Array, tuple[()]]:
        io_callback(self._write, None, sample, velocity, ordered=True)
        return super().step(row, state, sample, velocity)

    def _write(self, sample: jax.Array, velocity: jax.Array) -> None:
        self.tape.append((np.array(sample), np.array(velocity)))


# One for all runs: a solver is static, and another one would be another program.
_TAPED = Taped()


@functools.cache
def load(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file."""
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


@functools.cache
def config_of(path: Path) -> dict[str, Any]:
    """A file's settings."""
    return json.loads(str(load(path)["config"]))


@functools.cache
def toy_weights(path: Path) -> dict[str, Any]:
    """The toy's weights."""
    weights = {
        name.removeprefix("weights/"): jnp.asarray(array)
        for name, array in load(path).items()
        if name.startswith("weights/")
    }
    return weights | {"ln_eps": jnp.float32(config_of(path)["ln_eps"])}


@functools.cache
def toy_of(num_blocks: int) -> Toy:
    """The toy of so many blocks, one object for all tests: a model is static."""
    return Toy(num_blocks)


def generations(path: Path) -> list[slice]:
    """The steps of each generation of a file."""
    config = config_of(path)
    lengths = config.get("gens", 1)
    if isinstance(lengths, int):
        lengths = [config["N"]] * lengths
    ends = np.cumsum(lengths).tolist()
    return [slice(end - n, end) for n, end in zip(lengths, ends, strict=True)]


def cache_of(path: Path) -> tuple[str, dict[str, Any], tuple[int, ...]]:
    """The cache of a file: its name, its settings and how the tokens lie."""
    config = config_of(path)
    name, settings = _CACHES[config["impl"]]
    if "db" in config:
        config = config["db"]
        settings = {key: _OTHERWISE.get(key, key) for key in config}
    given = {ours: config[key] for key, ours in settings.items() if key in config}
    given = {key: x for key, x in given.items() if x is not None}
    return name, given, _layout(path) if name == "sea_cache" else ()


def _layout(path: Path) -> tuple[int, ...]:
    config = config_of(path)
    for where in (config, config["dims"]):
        if "layout" in where:
            return tuple(where["layout"])
    return 2, config["dims"]["T"] // 2, 1


def guidance_of(path: Path) -> float:
    """A file's guidance scale; 1 where it has one branch."""
    return float(config_of(path).get("cfg_scale") or 1.0)


def toy_options(
    path: Path, layout: tuple[int, ...] = (), steps: slice | None = None
) -> dict[str, Any]:
    """What `sample` and `Pipeline` are told to sample as it was recorded.

    Args:
        path: the file.
        layout: how the tokens lie; one axis unless given.
        steps: those of one generation; all, unless given.

    Returns:
        All options but the cache.
    """
    arrays = load(path)
    steps = slice(0, len(arrays["velocity"])) if steps is None else steps
    noise = jnp.asarray(arrays["x"][steps.start])
    batch, tokens, channels = noise.shape
    rows = jnp.zeros(batch, jnp.int32)
    sigmas = arrays["sigma"][steps.start : steps.stop + 1].copy()
    if sigmas[-1] >= sigmas[-2]:
        sigmas[-1] = 0  # the file goes on with the first sigma of the next generation
    options = {
        "noise": noise.reshape(batch, *(layout or (tokens,)), channels),
        "condition": rows,
        "schedule": explicit_schedule(sigmas, sigmas[:-1] * np.float32(1000)),
        "solver": _TAPED,
    }
    if guidance_of(path) != 1.0:
        scale = guidance_of(path)
        options |= {"negative_condition": rows + 1, "guidance_scale": scale}
    return options


class ToyRun(NamedTuple):
    """A generation of the toy.

    Attributes:
        result: what `sample` returned.
        x: [steps + 1, batch, tokens, channels], the sample at each step.
        velocity: [steps, batch, tokens, channels], at each step.
    """

    result: SampleResult
    x: np.ndarray
    velocity: np.ndarray


def run_toy(
    path: Path,
    cache: Any,
    cache_config: Mapping[str, Any] | None = None,
    layout: tuple[int, ...] = (),
    steps: slice | None = None,
) -> ToyRun:
    """Samples as it was recorded.

    Args:
        path: the file.
        cache: see `sample`.
        cache_config: likewise.
        layout: see `toy_options`.
        steps: likewise.

    Returns:
        The result, and what the solver saw, in the file's shapes.
    """
    _TAPED.tape.clear()
    result = sample(
        toy_weights(path),
        model=toy_of(config_of(path)["dims"]["L"]),
        cache=cache,
        cache_config=cache_config,
        **toy_options(path, layout, steps),
    )
    jax.effects_barrier()
    shape = load(path)["x"].shape[1:]
    samples = [x for x, _ in _TAPED.tape] + [np.asarray(result.sample)]
    velocities = [v for _, v in _TAPED.tape]
    return ToyRun(
        result,
        np.stack(samples).reshape(-1, *shape),
        np.stack(velocities).reshape(-1, *shape),
    )


def assert_close(what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Shapes agree, and all values to the tolerance."""
    assert ours.shape == theirs.shape, what
    error = np.max(np.abs(ours - theirs))
    assert error <= TOLERANCE, f"{what}: max error {error:.2e}"
