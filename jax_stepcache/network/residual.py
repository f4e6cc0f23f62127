"""Networks that run whole, or add a residual that they are given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.check import described
from jax_stepcache.errors import naming_fields
from jax_stepcache.network.called import a_module, asking, check_takes

_READS = ("params", "sample", "t", "condition")
_ONE = (
    "Its blocks are skipped all or none: at most Fn_compute_blocks=1, with signal=, "
    "and Bn_compute_blocks=0"
)


@naming_fields({"blocks": "full", "cached": "skip", "modulated": "signal"})
@dataclass(frozen=True)
class Residual:
    """A denoiser whose blocks cannot be asked one by one, for caches that skip them.

    All blocks are skipped or none. What they add is the network's to tell and to take:
    MaxDiffusion's ``return_residual=``, ``skip_blocks=`` and ``cached_residual=``. Make
    it once: another object is another program. At a step that computes, what stands
    before the blocks is computed twice, in ``full`` and in ``skip``.

    Attributes:
        full: ``(params, sample, t, condition) -> (velocity, residual)``; the residual
            is a pytree of [rows, ...] arrays, what all blocks have added.
        skip: ``(params, sample, t, condition, residual) -> velocity``, which adds it in
            place of the blocks.
        signal: ``(params, sample, t, condition) -> [rows, ...] array``, what caches
            look at: TeaCache as the modulated input, DBCache and FirstBlockCache as
            what the first block adds. None for caches that look at neither.
    """

    full: Callable[[Any, Any, Any, Any], tuple[Any, Any]]
    skip: Callable[[Any, Any, Any, Any, Any], Any]
    signal: Callable[[Any, Any, Any, Any], jax.Array] | None = None

    def __post_init__(self) -> None:
        """Checks that there is something to call.

        Raises:
            TypeError: if there is not.
        """
        for name in ("full", "skip", "signal"):
            given = getattr(self, name)
            more = ("residual",) if name == "skip" else ()
            if given is not None or name != "signal":
                check_takes(name, given, (*_READS, *more))

    @property
    def num_blocks(self) -> int:
        """All blocks as one; before it, with a signal, one that adds the signal."""
        return 1 if self.signal is None else 2

    @property
    def lacking(self) -> Mapping[str, str]:
        """See `check_stages`: what to give for what caches look at."""
        if self.signal is not None:
            return {"blocks": _ONE}
        looked = (
            "Residual(full, skip, signal=) takes what a cache looks at, a function "
            "(params, sample, t, condition) to an array of [rows, ...]"
        )
        return {"modulated": looked, "blocks": f"{looked}. {_ONE}"}

    @property
    def modulated(self) -> Callable[[Any, Any, Any], jax.Array] | None:
        """See `Stages.modulated`; None without a signal."""
        return None if self.signal is None else self._look

    def __call__(self, params: Any, sample: Any, t: Any, condition: Any) -> Any:
        """The whole network."""
        return self._full(params, sample, t, condition)[0]

    def embed(self, params: Any, sample: Any, t: Any, condition: Any) -> Any:
        """See `Stages.embed`: nothing has been added yet."""
        given = (sample, t, condition)
        parts = self._parts(params, given)
        return parts.packed(
            *jax.tree.map(_nothing, (parts.look, parts.residual))
        ), given

    def blocks(
        self, params: Any, hidden: Any, context: Any, start: int, stop: int
    ) -> Any:
        """See `Stages.blocks`."""
        parts = self._parts(params, context)
        look, added = jax.tree.map(_nothing, (parts.look, parts.residual))
        if self.signal is not None and start == 0 < stop:
            with asking("signal", context[0], context[2], self._wrong(params)):
                look = self.signal(params, *context)
        if start < self.num_blocks == stop:
            _, added = self._full(params, *context)
        return jax.tree.map(jnp.add, hidden, parts.packed(look, added))

    def head(self, params: Any, hidden: Any, context: Any) -> Any:
        """See `Stages.head`."""
        residual = self._parts(params, context).unpacked(hidden)
        sample, t, condition = context
        with asking("skip", sample, condition, self._wrong(params)):
            return self.skip(params, sample, t, condition, residual)

    def _look(self, params: Any, hidden: Any, context: Any) -> Any:
        del hidden
        return None if self.signal is None else self.signal(params, *context)

    def _wrong(self, params: Any) -> Callable[[], str | None]:
        return lambda: a_module(params)

    def _full(self, params: Any, sample: Any, t: Any, condition: Any) -> Any:
        with asking("full", sample, condition, self._wrong(params)):
            said = self.full(params, sample, t, condition)
        if not isinstance(said, tuple | list) or len(said) != 2:
            raise ValueError(
                f"full returned {described(said)}; it must return two things, "
                "(velocity, residual)"
            )
        return said

    def _parts(self, params: Any, given: Any) -> _Parts:
        """Structs of what flows."""
        look = None
        if self.signal is not None:
            with asking("signal", given[0], given[2], self._wrong(params)):
                look = jax.eval_shape(self.signal, params, *given)
        rows = jax.tree.leaves(given[0])[0].shape[0]
        residual = jax.eval_shape(lambda *x: self._full(*x)[1], params, *given)
        if not jax.tree.leaves(residual):
            raise ValueError(
                f"full returned {described(residual)} for the residual; it must be "
                "what all blocks have added, a pytree of [rows, ...] arrays"
            )
        if look is not None and not hasattr(look, "shape"):
            raise ValueError(
                f"signal returned {described(look)}; it must be one array, [rows, ...]"
            )
        for x in jax.tree.leaves((look, residual)):
            if x.shape[:1] != (rows,):
                raise ValueError(
                    f"full's residual and the signal must be of [rows, ...] arrays, "
                    f"with {rows} rows; got {x.dtype}{list(x.shape)}"
                )
        return _Parts(look, residual)


class _Parts(NamedTuple):
    """Structs of the signal, None where there is none, and of the residual."""

    look: Any
    residual: Any

    def packed(self, look: Any, residual: Any) -> Any:
        """What flows: the residual; with a signal, both behind one another."""
        if self.look is None:
            return residual
        leaves = jax.tree.leaves((look, residual))
        dtype = jnp.result_type(*leaves)
        flat = [x.reshape(x.shape[0], -1).astype(dtype) for x in leaves]
        return jnp.concatenate(flat, 1)

    def unpacked(self, hidden: Any) -> Any:
        """The residual in what flows."""
        if self.look is None:
            return hidden
        leaves, structure = jax.tree.flatten(self.residual)
        at, found = math.prod(self.look.shape[1:]), []
        for x in leaves:
            size = math.prod(x.shape[1:])
            found.append(hidden[:, at : at + size].reshape(x.shape).astype(x.dtype))
            at += size
        return jax.tree.unflatten(structure, found)


def _nothing(struct: Any) -> jax.Array:
    return jnp.zeros(struct.shape, struct.dtype)
