"""Counting what a traced program contains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import jax


def primitives(function: Callable[..., Any], *args: Any) -> Counter[str]:
    """How often each primitive occurs in a function's jaxpr, nested ones included."""
    return primitives_of(jax.make_jaxpr(function)(*args))


def primitives_of(jaxpr: Any) -> Counter[str]:
    """How often each primitive occurs in a jaxpr, nested ones included."""
    counts: Counter[str] = Counter()

    def walk(node: Any) -> None:
        if hasattr(node, "eqns"):  # closed or not
            for equation in node.eqns:
                counts[equation.primitive.name] += 1
                walk(list(equation.params.values()))
        elif isinstance(node, (list, tuple)):
            for part in node:
                walk(part)

    walk(jaxpr)
    return counts
