"""Finding a table by descent through the sampler."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.calibration.levels import Levels
from jax_stepcache.calibration.table_space import (
    Moved,
    Space,
    kept_falling,
    unmoved,
)
from jax_stepcache.calibration.table_state import Progressed, read_state, write_state
from jax_stepcache.check import check_count, check_numbers
from jax_stepcache.errors import naming_fields
from jax_stepcache.loop.denoise import walk
from jax_stepcache.loop.generation import Generation, tables_of
from jax_stepcache.loop.program import sampled
from jax_stepcache.solvers import SolverTable
from jax_stepcache.solvers.table import one_for_all

_BETWEEN_LOOKS = 20
"""Steps from one look at the held-out samples to the next."""

# A noise level is moved by no more than this for what a weight is moved by 1.
_LEVELS = 0.3


@naming_fields()
@dataclass(frozen=True)
class TableFit:
    """How a table is fitted.

    Attributes:
        steps: of Adam, at most.
        seconds: it takes at most, compiling included; None for no limit. Where it is
            reached two runs may differ.
        batch: samples that a step looks at.
        learning_rate: in units of the sample; falls to 0 by half a cosine.
        patience: looks at the held-out samples, one every 20 steps, that may go by
            without a better table.
        pooled: share of the logarithm of the mean squared error over all samples in the
            loss; the rest is the mean of the logarithms of each. 0 lets a few samples
            go wrong for the sake of the others, 1 looks at little else.
        outputs: the weight of each output by its name; None for equal ones.
        reference_steps: plain steps of what the samples should come near to; None for
            the sampler's own.
        remat: whether to call the network again for the derivative of each call,
            rather than to remember what is in it: for large models.
        resume: a file that keeps what has been reached, and to go on from where it is
            there; None for none.
        progress: True shows a bar; or a function that is given a `Looked`.
    """

    steps: int = 300
    seconds: float | None = 180.0
    batch: int = 16
    learning_rate: float = 6e-3
    patience: int = 6
    pooled: float = 0.25
    outputs: Mapping[str, float] | None = None
    reference_steps: int | None = None
    remat: bool = False
    resume: str | os.PathLike[str] | None = None
    progress: bool | Callable[[Looked], Any] = False

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: for one that does not fit.
            TypeError: for what is no number.
        """
        for name in ("steps", "batch", "patience"):
            check_count(f"fit's {name}", getattr(self, name), 1)
        if self.reference_steps is not None:
            check_count("fit's reference_steps", self.reference_steps, 1)
        if self.seconds is not None:
            check_numbers("fit's seconds", self.seconds, above=0.0)
        check_numbers("fit's learning_rate", self.learning_rate, above=0.0)
        check_numbers("fit's pooled", self.pooled)
        if not 0 <= self.pooled <= 1:
            raise ValueError(f"fit's pooled is {self.pooled}; it must be in [0, 1]")


class Looked(NamedTuple):
    """What a look at the held-out samples has found.

    Attributes:
        step: after so many steps of Adam.
        steps: of so many.
        decibels: how far errors have shrunk since the start, mean over outputs, dB.
        best: the most so far.
    """

    step: int
    steps: int
    decibels: float
    best: float


class Layout(NamedTuple):
    """How the outputs' tables make a schedule; static.

    Attributes:
        structure: the sample's.
        shared: whether the outputs share one schedule, and so their noise levels.
    """

    structure: Any
    shared: bool

    def schedule(self, tables: Sequence[SolverTable]) -> Any:
        """The tables of all outputs as what `sample` takes."""
        if self.shared:
            return one_for_all(tables, self.structure)
        return jax.tree.unflatten(self.structure, tables)


class Chunk(NamedTuple):
    """Some samples that are looked at together.

    Attributes:
        generation: with tables, its condition prepared and its noise drawn.
        reference: what they should come near to, as sampled.
    """

    generation: Generation
    reference: Any


def fit_table(
    spaces: tuple[Space | Levels, ...],
    layout: Layout,
    train: Sequence[Chunk],
    held_out: Sequence[Chunk],
    weights: tuple[float, ...],
    fit: TableFit,
) -> tuple[tuple[Moved, ...], int]:
    """Moves tables by Adam, and stops where held-out samples gain no more.

    Args:
        spaces: of each output.
        layout: how their tables make a schedule.
        train: what the descent looks at, chunk after chunk.
        held_out: what decides which table is kept.
        weights: of each output.
        fit: how.

    Returns:
        The best move, of each output, and how many steps were taken.

    Raises:
        ValueError: for a file to resume from that is of another fit.
        FloatingPointError: if the loss is not finite from the beginning.
    """
    started = time.monotonic()
    adam = _adam()
    start = tuple(unmoved(space) for space in spaces)
    numbers = jnp.asarray(weights), jnp.float32(fit.pooled)

    def look(moved: tuple[Moved, ...]) -> float:
        return held_out_loss(spaces, moved, layout, held_out, *numbers)

    first = look(start)
    if not math.isfinite(first):
        raise FloatingPointError(
            "the table that the fit starts from gives NaN or infinity, or has no error "
            "at all: there is nothing to descend"
        )
    state = Progressed(0, start, adam.init(start), start, first, 0)
    if fit.resume is not None:
        state = read_state(fit.resume, state, spaces)
    with _shown(fit.progress, fit.steps) as show:
        while state.step < fit.steps and state.idle < fit.patience:
            share = state.step / fit.steps
            if fit.seconds is not None:
                share = max(share, (time.monotonic() - started) / fit.seconds)
            if share >= 1:
                break
            rate = fit.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
            chunk = train[_chosen(state.step, len(train))]
            after = _stepped(
                adam.update,
                layout,
                fit.remat,
                _around(spaces, state.now),
                state.now,
                state.adam,
                chunk,
                *numbers,
                jnp.float32(rate),
            )
            state = state._replace(step=state.step + 1, now=after[0], adam=after[1])
            if state.step % _BETWEEN_LOOKS and state.step != fit.steps:
                continue
            found = look(state.now)
            if not math.isfinite(found):
                break
            if found < state.loss:
                state = state._replace(best=state.now, loss=found, idle=0)
            else:
                state = state._replace(idle=state.idle + 1)
            if fit.resume is not None:
                write_state(fit.resume, state, spaces)
            gained = [_decibels(first - x, weights) for x in (found, state.loss)]
            show(Looked(state.step, fit.steps, *gained))
    return state.best, state.step


def held_out_loss(
    spaces: tuple[Space | Levels, ...],
    moved: tuple[Moved, ...],
    layout: Layout,
    held_out: Sequence[Chunk],
    weights: jax.Array,
    pooled: jax.Array,
) -> float:
    """The loss of held-out samples, all together.

    Args:
        spaces: of each output.
        moved: how far their tables are moved.
        layout: how these make a schedule.
        held_out: the samples.
        weights: float32[outputs].
        pooled: see `table_loss`.

    Returns:
        The loss.
    """
    near = _around(spaces, moved)
    errors = [_table_errors(layout, near, moved, one) for one in held_out]
    return float(table_loss(jnp.concatenate(errors, axis=1), weights, pooled))


@jax.jit
def table_loss(errors: jax.Array, weights: jax.Array, pooled: jax.Array) -> jax.Array:
    """The loss: logarithms of mean squared errors, of each sample and of all.

    Args:
        errors: float32[outputs, samples].
        weights: float32[outputs].
        pooled: the share of that over all samples.

    Returns:
        A float32 scalar.
    """
    # Far below any error that is seen; a sample without one is no infinity.
    errors = jnp.maximum(errors, 1e-30)
    each, whole = jnp.log(errors).mean(axis=1), jnp.log(errors.mean(axis=1))
    return (weights * ((1 - pooled) * each + pooled * whole)).sum()


@functools.cache
def _adam() -> Any:
    """The optimiser, one object, so that another fit compiles nothing anew."""
    import optax  # nobody who only samples needs it

    return optax.scale_by_adam(b1=0.9, b2=0.99)


@functools.partial(jax.jit, static_argnums=0)
def _table_errors(layout: Layout, spaces: Any, moved: Any, chunk: Chunk) -> jax.Array:
    return _errors(layout, spaces, moved, chunk, remat=False)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _stepped(
    update: Any,
    layout: Layout,
    remat: bool,
    spaces: Any,
    moved: Any,
    adam: Any,
    chunk: Chunk,
    weights: jax.Array,
    pooled: jax.Array,
    rate: jax.Array,
) -> tuple[Any, Any]:
    def loss(moved: Any) -> jax.Array:
        return table_loss(_errors(layout, spaces, moved, chunk, remat), weights, pooled)

    slope = jax.grad(loss)(moved)
    # One sample that goes astray must not take the table along.
    slope = jax.tree.map(jnp.nan_to_num, slope)
    if layout.shared:
        levels = sum(one.sigmas for one in slope)
        slope = tuple(one._replace(sigmas=levels) for one in slope)
    direction, adam = update(slope, adam)
    after = tuple(
        kept_falling(
            space,
            Moved(
                one.sigmas - _LEVELS * rate * way.sigmas,
                one.weights - rate * way.weights,
            ),
        )
        for space, one, way in zip(spaces, moved, direction, strict=True)
    )
    return after, adam


def _errors(
    layout: Layout, spaces: Any, moved: Any, chunk: Chunk, remat: bool
) -> jax.Array:
    tables = [space.table(one) for space, one in zip(spaces, moved, strict=True)]
    schedule = layout.schedule(tables)

    def loop(network: Any, noise: Any, **given: Any) -> Any:
        network = jax.checkpoint(network) if remat else network
        return walk(network, noise, **given)[0]

    end = sampled(
        replace(chunk.generation, tables=tables_of(schedule)), loop=loop
    ).sample
    pairs = zip(jax.tree.leaves(end), jax.tree.leaves(chunk.reference), strict=True)
    return jnp.stack(
        [
            jnp.square(
                (a.astype(jnp.float32) - b.astype(jnp.float32)).reshape(len(a), -1)
            ).mean(axis=1)
            for a, b in pairs
        ]
    )


def _around(spaces: Any, moved: Any) -> Any:
    """The spaces, as they are where their tables are moved."""
    pairs = zip(spaces, moved, strict=True)
    return tuple(space.around(one) for space, one in pairs)


def _chosen(step: int, chunks: int) -> int:
    """All chunks in turn, each time in another order; the same when resumed."""
    turn, place = divmod(step, chunks)
    return int(np.random.default_rng(turn).permutation(chunks)[place])


def _decibels(gained: float, weights: Sequence[float]) -> float:
    return 10 / math.log(10) * gained / max(sum(weights), 1e-30)


class _shown:
    """Shows looks in a bar, or tells a function; a context, which closes the bar."""

    def __init__(self, progress: Any, steps: int) -> None:
        self._tell, self._bar = progress if callable(progress) else None, None
        if progress is True:
            import tqdm.auto

            self._bar = tqdm.auto.tqdm(total=steps, unit="step")

    def __enter__(self) -> Callable[[Looked], None]:
        return self._show

    def _show(self, looked: Looked) -> None:
        if self._tell is not None:
            self._tell(looked)
        if self._bar is not None:
            self._bar.set_postfix_str(f"{looked.best:+.2f} dB", refresh=False)
            self._bar.update(looked.step - self._bar.n)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
