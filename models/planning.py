"""What plans of pictures and of films have in common: names, and who brings levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jax_stepcache.errors import unknown_name
from jax_stepcache.loop.result import SampleResult
from jax_stepcache.options import brings_table
from jax_stepcache.sampling import sample


class Sampling(NamedTuple):
    """How a plan samples.

    Attributes:
        run: `jax_stepcache.sample`, or the pipeline's own, which has a cache.
        fixed: options that it has already.
        options: all others.
        tabled: whether a table brings noise levels and solver.
    """

    run: Callable[..., SampleResult]
    fixed: Mapping[str, Any]
    options: dict[str, Any]
    tabled: bool


def check_names(
    pipeline: str,
    given: Mapping[str, Any],
    taken: Sequence[str],
    named: Sequence[str],
    elsewhere: Mapping[str, str],
) -> None:
    """Checks the names of arguments.

    Args:
        pipeline: whose they are.
        given: the arguments by name.
        taken: names that may be among them.
        named: names that the pipeline has, for the error.
        elsewhere: what they are called in other libraries.

    Raises:
        TypeError: for another name.
    """
    for name in given:
        if name not in taken:
            raise TypeError(
                unknown_name(f"argument of {pipeline}", name, named, elsewhere)
            )


def sampling_of(
    model: Any,
    sampler: Callable[..., SampleResult],
    given: Mapping[str, Any],
    passed: Sequence[str],
    options: Mapping[str, Any],
    *,
    levels: Mapping[str, Any],
    instead: Sequence[str],
    solver: Any,
) -> Sampling:
    """Chooses who samples, and who brings the noise levels and the solver.

    Args:
        model: what is sampled.
        sampler: the pipeline's.
        given: what the pipeline is called with, by name.
        passed: which of it goes on to `sample` where it is given.
        options: what else goes there.
        levels: schedule and solver, unless a table brings both.
        instead: what is said beside a table, for `sample` to refuse it.
        solver: in place of that of the levels; None if it is not given.

    Returns:
        How it is sampled.
    """
    options = {**options, **_those_given(given, passed)}
    run = sample if "cache" in options else sampler
    fixed = getattr(run, "keywords", {})
    tabled = brings_table(model, **fixed, **options, schedule=given.get("schedule"))
    options |= _those_given(given, instead) if tabled else levels
    if solver is not None:
        options["solver"] = solver
    return Sampling(run, fixed, options, tabled)


def _those_given(given: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: given[name] for name in names if given.get(name) is not None}
