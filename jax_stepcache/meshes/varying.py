"""Control flow inside `jax.shard_map`: types that say along which axes values vary.

There, an array made of nothing is the same on all devices, and one made of the noise is
not; the two have different types, and a loop's carry or a branch's result must be of
one. Each function here is `jax.lax`'s of its name, with such types made alike; outside
of `shard_map` it is that function.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp


def cond(
    pred: jax.Array | bool,
    true_fun: Callable[..., Any],
    false_fun: Callable[..., Any],
    *operands: Any,
) -> Any:
    """See `jax.lax.cond`."""
    if _inside():
        branches = (true_fun, false_fun)
        true_fun, false_fun = _alike(branches, operands, _axes(pred))
    return jax.lax.cond(pred, true_fun, false_fun, *operands)


def switch(
    index: jax.Array, branches: Sequence[Callable[..., Any]], *operands: Any
) -> Any:
    """See `jax.lax.switch`."""
    if _inside():
        branches = _alike(branches, operands, _axes(index))
    return jax.lax.switch(index, branches, *operands)


def while_loop(
    cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init: Any
) -> Any:
    """See `jax.lax.while_loop`."""
    if _inside():

        def after(carry: Any) -> tuple[Any, frozenset[str]]:
            going = jax.eval_shape(cond_fun, carry)
            return jax.eval_shape(body_fun, carry), _axes(going)

        init, axes = _steady(after, init)
        return jax.lax.while_loop(
            cond_fun, lambda carry: _vary(body_fun(carry), axes), init
        )
    return jax.lax.while_loop(cond_fun, body_fun, init)


def scan(
    f: Callable[[Any, Any], Any],
    init: Any,
    xs: Any,
    length: int,
    unroll: int | bool = 1,
) -> Any:
    """See `jax.lax.scan`."""
    if _inside():
        first = jax.tree.map(lambda x: x[0], xs)

        def after(carry: Any) -> tuple[Any, frozenset[str]]:
            return jax.eval_shape(f, carry, first)[0], frozenset()

        init, axes = _steady(after, init)

        def steady(carry: Any, x: Any) -> tuple[Any, Any]:
            carry, y = f(carry, x)
            return _vary(carry, axes), y

        return jax.lax.scan(steady, init, xs, length=length, unroll=unroll)
    return jax.lax.scan(f, init, xs, length=length, unroll=unroll)


def _inside() -> bool:
    """Whether `jax.shard_map` is around."""
    return bool(jax.sharding.get_abstract_mesh().manual_axes)


def _alike(
    branches: Sequence[Callable[..., Any]], operands: Any, axes: frozenset[str]
) -> list[Callable[..., Any]]:
    """Branches whose results vary along the same axes, those of the choice among them.

    Where devices choose apart, even equal constants are no longer known to be equal.
    """
    results = [jax.eval_shape(branch, *operands) for branch in branches]
    if len({jax.tree.structure(result) for result in results}) > 1:
        return list(branches)  # JAX says it.
    axes_of = jax.tree.map(functools.partial(_union, axes), *results)
    return [
        lambda *operands, branch=branch: _vary(branch(*operands), axes_of)
        for branch in branches
    ]


def _steady(
    after: Callable[[Any], tuple[Any, frozenset[str]]], carry: Any
) -> tuple[Any, Any]:
    """A loop's first carry, varying along all axes that it ever does.

    Args:
        after: from a carry to structs of the next one, and the axes of the choice
            whether to go on.
        carry: the first.

    Returns:
        The carry, and the axes of each of its arrays.
    """
    while True:
        before = jax.tree.map(_axes, carry)
        following, chosen = after(carry)
        if jax.tree.structure(following) != jax.tree.structure(carry):
            return carry, before  # JAX says it.
        each = functools.partial(_union, chosen)
        axes = jax.tree.map(each, carry, following)
        if axes == before:
            return carry, axes
        carry = _vary(carry, axes)


def _union(axes: frozenset[str], *values: Any) -> frozenset[str]:
    return axes.union(*map(_axes, values))


def _vary(tree: Any, axes: Any) -> Any:
    """Lets arrays vary along axes, those that they do not already."""

    def vary(x: Any, axes: frozenset[str]) -> Any:
        more = tuple(sorted(axes - _axes(x)))
        return jax.lax.pcast(jnp.asarray(x), more, to="varying") if more else x

    return jax.tree.map(vary, tree, axes)


def _axes(x: Any) -> frozenset[str]:
    """The axes of `shard_map` along which a value, or what a struct is of, varies."""
    kind = x if isinstance(x, jax.ShapeDtypeStruct) else jax.typeof(x)
    # There is none where shard_map was asked not to check (check_vma=False).
    return getattr(kind.manual_axis_type, "varying", frozenset())
