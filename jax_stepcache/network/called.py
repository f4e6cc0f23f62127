"""Functions and networks of other people: what they take, and words if they fail."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from jax_stepcache.check import described
from jax_stepcache.errors import brief

_DENOISER = ("params", "sample", "t", "condition")
# What a network raises that is given something else than it was written for.
_LONGEST = 300  # characters of that error
_RAISED = (TypeError, ValueError, LookupError, AttributeError)


class Failed(ValueError):
    """Somebody's network raised an error; the message says what it was given."""


def check_takes(
    what: str, function: Any, arguments: Sequence[str] = _DENOISER, hint: str = ""
) -> None:
    """Checks that something can be called with so many arguments.

    Args:
        what: it is called in the error.
        function: what was given.
        arguments: what it will be given, by position.
        hint: goes behind the words for something that is no function.

    Raises:
        TypeError: if it is no function, or takes others.
    """
    wanted = ", ".join(arguments)
    if not callable(function) or (isinstance(function, type) and arguments):
        kind = ", a class" if isinstance(function, type) else ""
        raise TypeError(
            f"{what} is {brief(function)}{kind}; it must be a function ({wanted}){hint}"
        )
    # Looked at in each call, and this is all there is to see of most.
    code: Any = getattr(function, "__code__", None)
    if inspect.isfunction(function) and code.co_argcount == len(arguments):
        return
    # An object's method, for looking at objects may compare them.
    plain = inspect.isroutine(function)
    try:
        signature = inspect.signature(function if plain else function.__call__)
    except (TypeError, ValueError):
        return  # Not every callable tells.
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise TypeError(
            f"{what} takes {signature}, and is called as {what}({wanted})"
            f"{_of_module(function)}"
        ) from error


def _of_module(function: Any) -> str:
    # Who has a module has imported Flax; who has none need not.
    nnx = sys.modules.get("flax.nnx")
    if nnx is None or not isinstance(function, nnx.Module):
        return ""
    return (
        "; of a Flax module, weights go apart: graph, weights = nnx.split(module), and "
        "model a function that calls nnx.merge(graph, weights)"
    )


def a_module(weights: Any) -> str | None:
    """Words for a module that was given for weights; None if it is none."""
    flax = [sys.modules.get(f"flax.{name}") for name in ("nnx", "linen")]
    kinds = tuple(one.Module for one in flax if one is not None)
    if not isinstance(weights, kinds):
        return None
    return (
        f"the weights are {type(weights).__name__}(...), a module that holds them; "
        "give the weights apart"
    )


@contextlib.contextmanager
def asking(
    who: str,
    sample: Any,
    condition: Any,
    misfit: Callable[[], str | None] = lambda: None,
) -> Iterator[None]:
    """Says of an error in somebody's network what it was given.

    Args:
        who: the network.
        sample: pytree of arrays, as the network is given it.
        condition: likewise.
        misfit: what is wrong with its weights, if anything is; asked after an error.

    Raises:
        Failed: where the block raises an error, with its words.
    """
    errors = sys.modules.get("flax.errors")
    raised = _RAISED if errors is None else (*_RAISED, errors.FlaxError)
    try:
        yield
    except Failed:
        raise
    except raised as error:
        told = misfit()
        if told is None:
            given = "; condition is None, and condition= may be what it lacks"
            if jax.tree.leaves(condition):
                given = f" and a condition of {described(condition)}"
            told = f"it was given a sample of {described(sample)}{given}"
        raise Failed(
            f"{who} failed while it was traced: {told}. The shape of noise= is the "
            "sample's, and condition= is handed over as it is. What it raised: "
            f"{type(error).__name__}: {_line(error)}"
        ) from error


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:_LONGEST]
