"""Checks of solvers' options."""

from __future__ import annotations

from collections.abc import Iterable

from jax_stepcache.check import static_count
from jax_stepcache.errors import unknown_name


def check_order(solver: str, order: object, most: int) -> None:
    """Checks an order of a solver.

    Raises:
        ValueError: for one that there is not.
        TypeError: for what is no whole number.
    """
    if static_count("order", order, 1) > most:
        raise ValueError(f"order is {order}; {solver} has orders 1 to {most}")


def check_choice(what: str, given: object, allowed: Iterable[str]) -> None:
    """Checks a name among few.

    Raises:
        ValueError: for another, with the nearest.
    """
    if given not in (names := tuple(allowed)):
        raise ValueError(unknown_name(what, given, names))
