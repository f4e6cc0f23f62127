"""Finding a table by descent through the sampler."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.calibration.levels import Levels
from jax_stepcache.calibration.table_curvature import (
    Free,
    curvature_drawn,
    curvature_of,
    free_of,
    has_forward_mode,
    scale_of,
)
from jax_stepcache.calibration.table_loss import (
    Chunk,
    Layout,
    around_all,
    held_out_loss,
    mean_squares,
    table_ends,
    table_loss,
)
from jax_stepcache.calibration.table_options import Looked, TableFit
from jax_stepcache.calibration.table_space import Moved, Space, kept_falling, unmoved
from jax_stepcache.calibration.table_state import (
    Progressed,
    mark_of,
    read_state,
    write_state,
)
from jax_stepcache.errors import warn

_BETWEEN_LOOKS = 20
"""Steps from one look at the held-out samples to the next."""

_TURNS = 2
"""How often directions are looked for: errors that have shrunk weigh otherwise."""


_KEPT = 0.9
"""Of the mean of moves from one step to the next; it is the mean that is looked at."""

_BACK = 3
"""How often it runs out of patience before it ends."""


def fit_table(
    spaces: tuple[Space | Levels, ...],
    layout: Layout,
    train: Sequence[Chunk],
    held_out: Sequence[Chunk],
    shares: jax.Array,
    fit: TableFit,
) -> tuple[tuple[Moved, ...], int]:
    """Moves tables by Adam, and stops where held-out samples gain no more.

    What is kept is the mean of some steps: each of them saw a few samples alone. Adam
    moves along directions in which the loss is curved alike, those of a
    Gauss-Newton matrix of some samples: numbers of a table hang together, and some
    matter a thousand times as much as others.

    Args:
        spaces: of each output.
        layout: how their tables make a schedule.
        train: what the descent looks at, chunk after chunk.
        held_out: what decides which table is kept.
        shares: see `table_loss`.
        fit: how.

    Returns:
        The best move, of each output, and how many steps were taken.

    Raises:
        ValueError: for a file to resume from that is of another fit, or slopes that
            the network has not.
        FloatingPointError: if the loss is not finite from the beginning.
    """
    started = time.monotonic()
    adam = _adam()
    start = tuple(unmoved(space) for space in spaces)
    free = free_of(spaces, start, layout.shared)

    curved = _curvature_by(fit.slopes, free, layout, spaces, start, train[0])

    def look(moved: tuple[Moved, ...]) -> float:
        return held_out_loss(spaces, moved, layout, held_out, shares)

    first = look(start)
    if not math.isfinite(first):
        raise FloatingPointError(
            "the table that the fit starts from gives NaN or infinity, or has no error "
            "at all: there is nothing to descend"
        )
    packed = free.packed(start)
    of = min(max(fit.curvature // fit.batch, 1), len(train))
    none = jnp.zeros((len(packed),) * 2)
    state = Progressed(0, start, start, adam.init(packed), start, first, 0, none, 0)
    mark = ""
    if fit.resume is not None:
        # References tell weights and guidance apart, too.
        seen = [
            [(x.generation.noise, x.reference) for x in y] for y in (train, held_out)
        ]
        mark = mark_of(spaces, shares, seen)
        state = read_state(fit.resume, state, mark)

    def stepped(state: Progressed, share: float) -> Progressed:
        if state.step % max(-(-fit.steps // _TURNS), _BETWEEN_LOOKS) == 0:
            seen = _next(state.step, of, train)
            scale = _scale(curved, free, layout, spaces, state.now, seen, shares)
            state = state._replace(scale=scale, adam=adam.init(packed))
        rate = fit.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
        rate *= 0.5**state.backs
        near = around_all(spaces, state.now)
        slopes = [
            slope_of(layout, fit.slopes, free, near, state.now, chunk, shares)
            for chunk in _next(state.step, fit.accumulate, train)
        ]
        after = _moved(adam.update, free, spaces, state, slopes, jnp.float32(rate))
        now, mean, adam_after = after
        return state._replace(step=state.step + 1, now=now, mean=mean, adam=adam_after)

    looked = state.step
    with _shown(fit.progress, fit.steps) as show:
        while state.step < fit.steps and state.backs < _BACK:
            share = state.step / fit.steps
            if fit.seconds is not None:
                share = max(share, (time.monotonic() - started) / fit.seconds)
            if share < 1:
                state = stepped(state, share)
                if state.step % _BETWEEN_LOOKS and state.step != fit.steps:
                    continue
            elif state.step == looked:
                break
            # Out of time too, for the steps since the last look.
            looked = state.step
            found = look(state.mean)
            state = _judged(state, found, fit.patience, adam.init(packed))
            if fit.resume is not None:
                write_state(fit.resume, state, mark)
            reached = found if math.isfinite(found) else state.loss
            gained = [_decibels(first - x, shares) for x in (reached, state.loss)]
            show(Looked(state.step, fit.steps, *gained))
    return state.best, state.step


def _judged(state: Progressed, found: float, patience: int, fresh: Any) -> Progressed:
    """What is kept after a look, and where the fit goes on; ``fresh`` is Adam's."""
    if not math.isfinite(found):
        warn(
            f"the table of step {state.step} samples NaN or infinity; the fit "
            "goes back to the best so far. A lower learning_rate in fit would "
            "not come there"
        )
        state = state._replace(now=state.best, mean=state.best, adam=fresh)
    if found < state.loss:
        state = state._replace(best=state.mean, loss=found, idle=0)
    else:
        state = state._replace(idle=state.idle + 1)
    if state.idle == patience:
        state = state._replace(idle=0, backs=state.backs + 1)
        state = state._replace(now=state.best, mean=state.best, adam=fresh)
    return state


@functools.cache
def _adam() -> Any:
    """The optimiser, one object, so that another fit compiles nothing anew."""
    import optax  # nobody who only samples needs it

    return optax.scale_by_adam(b1=0.9, b2=0.99)


def _curvature_by(
    slopes: str, free: Free, layout: Layout, spaces: Any, moved: Any, chunk: Chunk
) -> Callable[..., jax.Array]:
    """What finds the curvature, by the mode that the network has.

    Raises:
        ValueError: if slopes are to be had by forward mode, and it has none.
    """
    near = around_all(spaces, moved)
    given = (free.packed(moved), free, near, moved, chunk)
    if has_forward_mode(_ends(layout), *given):
        return functools.partial(curvature_of, _ends(layout))
    if slopes == "forward":
        raise ValueError(
            "fit's slopes is 'forward', and the network cannot be derived forwards: it "
            "has a jax.custom_vjp or a kernel without a forward rule in it, as fused "
            "attention. Give 'reverse' or 'remat', which derive it backwards"
        )
    return functools.partial(curvature_drawn, _ends(layout, slopes == "remat"))


def _scale(
    curved: Callable[..., jax.Array],
    free: Free,
    layout: Layout,
    spaces: Any,
    moved: Any,
    chunks: Sequence[Chunk],
    shares: jax.Array,
) -> jax.Array:
    """Directions along which the loss is curved alike, as some samples see it."""
    near = around_all(spaces, moved)
    total = np.zeros(())
    for chunk in chunks:
        given = (free, near, moved, chunk)
        found = curved(free.packed(moved), shares, *given)
        total = total + np.nan_to_num(np.asarray(jax.device_get(found), np.float64))
    return jnp.asarray(scale_of(total / len(chunks)))


@functools.cache
def _ends(layout: Layout, remat: bool = False) -> Callable[..., Any]:
    """The errors as a function of the free numbers; one object for each layout."""

    def ends(
        numbers: jax.Array, free: Free, spaces: Any, like: Any, chunk: Chunk
    ) -> Any:
        return table_ends(layout, spaces, free.unpacked(numbers, like), chunk, remat)

    return ends


@functools.partial(jax.jit, static_argnums=(0, 1))
def slope_of(
    layout: Layout,
    slopes: str,
    free: Free,
    spaces: Any,
    moved: Any,
    chunk: Chunk,
    shares: jax.Array,
) -> jax.Array:
    """The derivative of some samples' loss by the free numbers.

    Args:
        layout: how tables make a schedule; static.
        slopes: see `TableFit`; static.
        free: which numbers are free.
        spaces: of each output, around the move.
        moved: how far their tables are moved.
        chunk: the samples.
        shares: see `table_loss`.

    Returns:
        float32[free].
    """

    def loss(numbers: jax.Array) -> jax.Array:
        of = free.unpacked(numbers, moved)
        errors = table_ends(layout, spaces, of, chunk, slopes == "remat")
        return table_loss(mean_squares(errors), shares)

    numbers = free.packed(moved)
    if slopes == "forward":
        units = jnp.eye(len(numbers), dtype=jnp.float32)
        # One by one, so that no more is held than twice what sampling takes.
        return jax.lax.map(lambda way: jax.jvp(loss, (numbers,), (way,))[1], units)
    return jax.grad(loss)(numbers)


@functools.partial(jax.jit, static_argnums=0)
def _moved(
    update: Any,
    free: Free,
    spaces: Any,
    state: Progressed,
    slopes: Sequence[jax.Array],
    rate: jax.Array,
) -> tuple[Any, Any, Any]:
    """A step of Adam: where it leads, the mean by then, and the optimiser's state."""
    # One sample that goes astray must not take the table along.
    slope = jnp.nan_to_num(jnp.stack(slopes)).mean(axis=0)
    direction, adam = update(state.scale.T @ slope, state.adam)
    numbers = free.packed(state.now) - rate * (state.scale @ direction)
    pairs = zip(spaces, free.unpacked(numbers, state.now), strict=True)
    now = tuple(kept_falling(space, one) for space, one in pairs)
    mean = jax.tree.map(lambda m, x: _KEPT * m + (1 - _KEPT) * x, state.mean, now)
    return now, mean, adam


def _next(step: int, count: int, chunks: Sequence[Chunk]) -> list[Chunk]:
    """The next ones: all in turn, each time in another order; the same when resumed."""
    found = []
    for place in range(step * count, (step + 1) * count):
        turn, at = divmod(place, len(chunks))
        found.append(
            chunks[int(np.random.default_rng(turn).permutation(len(chunks))[at])]
        )
    return found


def _decibels(gained: float, shares: jax.Array) -> float:
    return 10 / math.log(10) * gained / max(float(jnp.sum(shares)), 1e-30)


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
            now, best = f"{looked.decibels:+.2f} dB", f"{looked.best:+.2f}"
            self._bar.set_postfix_str(f"{now}, best {best}", refresh=False)
            self._bar.update(looked.step - self._bar.n)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
