"""Derivatives of a sampler: those of a loop that has a reverse mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.custom_derivatives import SymbolicZero

from jax_stepcache.check import check_flag
from jax_stepcache.loop.denoise import walk
from jax_stepcache.loop.generation import Generation
from jax_stepcache.loop.program import sampled

T = TypeVar("T")

_NO_BAR = (
    "progress reports from inside the loop, and what reports has no derivative; leave "
    "out progress where one is asked for"
)


def with_derivatives_of(
    other: Callable[[T], Any], run: Callable[[T], Any]
) -> Callable[[T], Any]:
    """A function with another's derivatives.

    Args:
        other: the same function of a pytree, made of what can be differentiated.
        run: the function.

    Returns:
        What is ``run``, and ``other`` where a derivative is asked for.
    """

    @jax.custom_jvp
    def function(given: T) -> Any:
        return run(given)

    def derivative(primals: Any, tangents: Any) -> tuple[Any, Any]:
        given, structure = jax.tree.flatten(primals)
        along = structure.flatten_up_to(tangents)
        # What does not move, such as weights, needs no derivative made.
        moved = [i for i, x in enumerate(along) if not isinstance(x, SymbolicZero)]

        def of_moved(*values: Any) -> Any:
            arguments = list(given)
            for i, value in zip(moved, values, strict=True):
                arguments[i] = value
            return other(*jax.tree.unflatten(structure, arguments))

        return jax.jvp(of_moved, [given[i] for i in moved], [along[i] for i in moved])

    function.defjvp(derivative, symbolic_zeros=True)
    return function


def check_differentiable(flag: Any, progress: Any) -> None:
    """Checks that there can be a derivative where one is announced.

    Raises:
        ValueError: for what is no flag, or a progress beside it.
    """
    check_flag("differentiable", flag)
    if flag and progress:
        raise ValueError(f"{_NO_BAR}, and with differentiable=True")


def without_derivatives(given: T) -> T:
    """The same, and an error where a derivative is asked for: a bar allows none.

    Args:
        given: pytree of arrays.

    Returns:
        What was given.
    """

    @jax.custom_jvp
    def same(given: T) -> T:
        return given

    def refuse(primals: Any, tangents: Any) -> Any:
        raise ValueError(_NO_BAR)

    same.defjvp(refuse, symbolic_zeros=True)
    return same(given)


def walked(generation: Generation) -> Any:
    """`sampled` by a scan, which has a reverse mode, where a `while_loop` has none."""
    remat = generation.program.differentiable

    def loop(*of: Any, **given: Any) -> Any:
        return walk(*of, **given, remat=remat)[0]

    return sampled(generation, loop=loop)
