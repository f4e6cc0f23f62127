"""Scenes to sample, and what is measured on them.

Each scene is sampled by itself, as a batch of one, as a robot samples: a cache then
decides for this scene alone, and steps that it skips are skipped.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jax_stepcache
from jax_stepcache.loop.result import Stats
from jax_stepcache.measure.flops import ForwardFlops, forward_flops
from jax_stepcache.measure.metrics import psnr_of_each, rmse, ssim
from jax_stepcache.policy.policy import Policy

NUM_STEPS = 16


class Way(NamedTuple):
    """One way to sample.

    Attributes:
        cache: the policy.
        num_steps: solver steps.
        solver: the solver's name.
        tables: what it steps by instead of a solver, and in so many steps; or None.
    """

    cache: Policy
    num_steps: int = NUM_STEPS
    solver: str = "unipc"
    tables: Any = None


UNCACHED = Way(jax_stepcache.Uncached())


class Scenes(NamedTuple):
    """Observations, and the uncached results to measure against.

    Attributes:
        params: the weights and their model.
        observations: batches of one.
        keys: of the noise, one for each.
        reference: the decoded uncached samples, [scenes, ...].
    """

    params: jax_stepcache.Params
    observations: list[Any]
    keys: list[jax.Array]
    reference: Any = None

    def sample(self, way: Way, scene: int) -> tuple[Any, Stats]:
        """Samples one scene: the decoded sample, and what was computed."""
        return sample_one(self.params, way, self.observations[scene], self.keys[scene])

    def sample_all(self, way: Way) -> tuple[Any, list[Stats]]:
        """Samples all: the decoded samples, [scenes, ...], and what was computed."""
        each = [self.sample(way, scene) for scene in range(len(self.keys))]
        decoded, stats = zip(*each, strict=True)
        return jax.tree.map(lambda *x: jnp.concatenate(x), *decoded), list(stats)

    def calls(self, cache: Policy) -> float:
        """Model calls, mean over the scenes."""
        _, stats = self.sample_all(Way(cache))
        return float(np.mean([calls_of(one) for one in stats]))


class Quality(NamedTuple):
    """How one way to sample does, mean over scenes.

    Attributes:
        calls: model calls.
        psnr: dB of the picture or video; infinite for the uncached sampler.
        psnr_p5: its 5th percentile over the scenes.
        ssim: of the pictures.
        action_rmse: in world units; None where the model does not act.
        flops: operations of the matrix products, skipped ones left out.
    """

    calls: float
    psnr: float
    psnr_p5: float
    ssim: float
    action_rmse: float | None
    flops: float


def calls_of(stats: Stats) -> float:
    """Model calls of a run; of one that skips single blocks, as many as all ran."""
    if stats.blocks is None:
        return float(stats.model_calls)
    # A block runs on the rows of both guidance branches where either wants it.
    return float(np.asarray(stats.blocks.computed).any(axis=1).mean(axis=1).sum())


def sample_one(
    params: jax_stepcache.Params, way: Way, observation: Any, key: jax.Array
) -> tuple[Any, Stats]:
    """Samples one observation: the decoded sample, and what was computed."""
    return _sample(
        params,
        way.cache,
        way.tables,
        observation,
        key,
        num_steps=way.num_steps,
        solver=way.solver,
    )


@functools.partial(jax.jit, static_argnames=("num_steps", "solver"))
def _sample(
    params: jax_stepcache.Params,
    cache: Policy,
    tables: Any,
    observation: Any,
    key: jax.Array,
    *,
    num_steps: int,
    solver: str,
) -> tuple[Any, Stats]:
    # Thresholds and masks are arguments, so one program serves all of a cache's rows.
    sampler = {"num_inference_steps": num_steps, "solver": solver}
    result = jax_stepcache.sample(
        params,
        observation=observation,
        key=key,
        cache=cache,
        **(sampler if tables is None else {"schedule": tables}),
    )
    return params.model.decode(result.sample), result.stats


def make_scenes(params: jax_stepcache.Params, seed: int, count: int) -> Scenes:
    """Draws scenes and samples them without a cache."""
    worlds, noise = jax.random.split(jax.random.key(seed))
    observations = [params.model.example(k, 1) for k in jax.random.split(worlds, count)]
    scenes = Scenes(params, observations, list(jax.random.split(noise, count)))
    reference, _ = scenes.sample_all(UNCACHED)
    return scenes._replace(reference=reference)


def count_flops(scenes: Scenes, way: Way) -> ForwardFlops:
    """Operations of one step; the same for all numbers of a cache."""
    return forward_flops(
        scenes.params,
        observation=scenes.observations[0],
        cache=way.cache,
        num_inference_steps=way.num_steps,
    )


def measure(scenes: Scenes, way: Way, flops: ForwardFlops) -> Quality:
    """Samples all scenes and compares with the reference."""
    decoded, stats = scenes.sample_all(way)
    reference = scenes.reference
    seen = next(name for name in ("video", "image") if name in reference)
    action = None
    if "action" in reference:
        action = float(rmse(reference["action"], decoded["action"]))
    each = np.asarray(psnr_of_each(reference[seen], decoded[seen]))
    frames = (x[seen].reshape(-1, *x[seen].shape[-3:]) for x in (reference, decoded))
    return Quality(
        calls=float(np.mean([calls_of(one) for one in stats])),
        psnr=float(each.mean()),
        psnr_p5=float(np.quantile(each, 0.05)) if np.isfinite(each).all() else np.inf,
        ssim=float(ssim(*frames)),
        action_rmse=action,
        flops=float(np.mean([flops.of(one) for one in stats])),
    )


def time_all(scenes: Scenes, ways: Sequence[Way], rounds: int) -> list[float]:
    """Times one generation of each way, compiled, nothing else running.

    All take turns, the uncached sampler among them, so that a machine that others use
    is as slow for one as for another.

    Args:
        scenes: a scene for each round; ways that decide decide about all of them.
        ways: ways to sample that have run before.
        rounds: timed generations of each.

    Returns:
        Median seconds of each.
    """
    taken: list[list[float]] = [[] for _ in ways]
    for turn in range(rounds):
        for seconds, way in zip(taken, ways, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(scenes.sample(way, turn % len(scenes.keys)))
            seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in taken]
