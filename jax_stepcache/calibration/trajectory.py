"""Uncached trajectories: what the network says, and what signals see, at every step."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from jax_stepcache.calibration.watch import Seen, Watch
from jax_stepcache.loop.denoise import walk
from jax_stepcache.loop.generation import Generation, run_together
from jax_stepcache.loop.program import sampled
from jax_stepcache.loop.transfers import sent
from jax_stepcache.meshes.explicit import under_automatic_axes
from jax_stepcache.options import Options, resolve
from jax_stepcache.policy.span import Span


class Trajectory(NamedTuple):
    """One sampled trajectory; arrays have a leading axis of num_steps.

    Attributes:
        samples: the sample before each step.
        velocities: the velocity that each step took.
        computed: bool[num_steps], whether the network said it.
        end: the sample at the end.
        seen: what a `Watch` saw at each step, float[num_steps, branches, ...], or None.
    """

    samples: Any
    velocities: Any
    computed: jax.Array
    end: Any
    seen: Any


def _sights(cache: Any) -> Any:
    """What signals look at; the tokens themselves would fill a device's memory."""
    each = getattr(cache, "each", None)
    if not isinstance(each, Seen):
        return None
    return each._replace(output=None, residual=None)


@jax.jit
def _walked(generation: Generation) -> Any:
    keeping = functools.partial(walk, keep=_sights)
    return under_automatic_axes(functools.partial(sampled, loop=keeping), generation)


def follow(generation: Generation) -> Trajectory:
    """Samples and keeps every step.

    Args:
        generation: what to sample.

    Returns:
        The trajectory.
    """
    result, steps = run_together(_walked, sent(generation))
    return Trajectory(
        steps.sample, steps.velocity, result.stats.computed, result.sample, steps.seen
    )


def watch(
    params: Any,
    samples: Sequence[dict[str, Any]],
    span: Span | None,
    looks_at: str,
    **options: Any,
) -> list[Trajectory]:
    """Follows uncached trajectories, and inside the network too.

    Args:
        params: see `sample`.
        samples: options of `sample` that differ from one trajectory to the next.
        span: where to look inside; None looks at velocities only.
        looks_at: what to keep; see `Watch`.
        **options: of `sample`, for all.

    Returns:
        One trajectory for each sample.
    """
    cache = None if span is None else Watch(span, looks_at)
    return [
        follow(resolve(params, Options(cache=cache, **one, **options)))
        for one in samples
    ]
