"""One recorded generation of the toy, through the real sampler."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback

from jax_stepcache import Euler, SampleResult, explicit_schedule, sample

from .toy import Toy


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


def run_toy(
    path: Path,
    cache: Any,
    cache_config: Mapping[str, Any] | None = None,
    layout: tuple[int, ...] = (),
) -> tuple[SampleResult, np.ndarray, np.ndarray]:
    """Samples as it was recorded.

    Args:
        path: the file.
        cache: see `sample`.
        cache_config: likewise.
        layout: how the tokens lie; one axis unless given.

    Returns:
        The result, and the samples and velocities of all steps, in the file's shapes.
    """
    arrays, config, tape = load(path), config_of(path), _TAPED.tape
    tape.clear()
    noise = jnp.asarray(arrays["x"][0])
    shape = noise.shape
    if layout:
        noise = noise.reshape(shape[0], *layout, shape[-1])
    rows = jnp.zeros(shape[0], jnp.int32)
    scale = config.get("cfg_scale", 1.0) or 1.0
    guided = {"negative_condition": rows + 1, "guidance_scale": scale}
    sigmas = arrays["sigma"]
    result = sample(
        toy_weights(path),
        model=toy_of(config["dims"]["L"]),
        noise=noise,
        condition=rows,
        schedule=explicit_schedule(sigmas, sigmas[:-1] * np.float32(1000)),
        solver=_TAPED,
        cache=cache,
        cache_config=cache_config,
        **(guided if scale != 1.0 else {}),
    )
    jax.effects_barrier()
    samples = [x.reshape(shape) for x, _ in tape]
    samples.append(np.asarray(result.sample).reshape(shape))
    velocities = [v.reshape(shape) for _, v in tape]
    return result, np.stack(samples), np.stack(velocities)
