"""DBPrune: skip single blocks while what enters them changes little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jax_stepcache.check import check_count, check_flag, check_numbers, fetched
from jax_stepcache.errors import naming_arguments, unknown_name
from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.compose import compose
from jax_stepcache.policy.forecasts import Point
from jax_stepcache.policy.gates import (
    Below,
    ForcedSteps,
    Gate,
    Mask,
    MaxConsecutive,
    MaxSkips,
    WarmUp,
)
from jax_stepcache.policy.gates.padded import resized
from jax_stepcache.policy.leaf import leaf
from jax_stepcache.policy.named.db_cache import (
    MASK_POLICIES,
    at_most_leading,
    checked_mask,
)
from jax_stepcache.policy.policy import Decision
from jax_stepcache.policy.signals.relative_l1 import relative_l1
from jax_stepcache.policy.span import EachBlock
from jax_stepcache.policy.view import View

# A dynamic threshold goes by so many changes of a step, the first ones.
_LOOKED_AT = 5


class Counts(NamedTuple):
    """What the blocks of a network count together.

    Attributes:
        step: int32 scalar, the step that ``changes`` are of.
        changes: float32[5], the first changes that were compared at it; -1 for one
            that was reused without comparing.
        compared: int32 scalar, how many there are.
        skipped: int32 scalar, steps at which a block was skipped.
        row: int32 scalar, how many of these are in a row up to ``last``.
        last: int32 scalar, the last of them.
    """

    step: jax.Array
    changes: jax.Array
    compared: jax.Array
    skipped: jax.Array
    row: jax.Array
    last: jax.Array


class DBPruneState(NamedTuple):
    """State of `DBPrune`, of one block.

    Attributes:
        counts: what it knows of the blocks before it and of steps before.
        entered: what entered the block where it last ran.
        memory: one forecast memory for each leaf of what it adds.
        recorded: bool scalar, whether it has run.
    """

    counts: Counts
    entered: Any
    memory: tuple[Any, ...]
    recorded: jax.Array


@register_dataclass
@dataclass(frozen=True)
class DBPrune:
    """Decides for every block by itself; see `db_prune`.

    A block is skipped where what enters it has changed little since it last ran. What
    blocks count, they count together, one after the other in the order of the network.

    Attributes:
        threshold: float32; 1 or more skips without comparing.
        relax: float32, what the mean of a step's changes is taken times for a dynamic
            threshold; 0 for the threshold as it is.
        highest: float32, a dynamic threshold of this or more is none.
        warmup: int32, steps that run first.
        interval: int32, of these every so many run.
        max_steps: int32, cap on all steps at which a block is skipped; negative, none.
        max_row: int32, cap on those in a row; likewise.
        forecast: of what a block adds.
        span: which blocks.
        mask: bool[steps], true at steps that run; or None.
        reuses: whether steps that the mask leaves are reused without comparing.
    """

    threshold: ArrayLike
    relax: ArrayLike
    highest: ArrayLike
    warmup: ArrayLike
    interval: ArrayLike
    max_steps: ArrayLike
    max_row: ArrayLike
    forecast: Any
    span: EachBlock = field(metadata={"static": True})
    mask: Any = None
    reuses: bool = field(default=False, metadata={"static": True})

    @property
    def gate(self) -> Gate:
        """What its settings make certain of all blocks, in the words of gates."""
        gate = MaxSkips(
            MaxConsecutive(Below(self.threshold), self.max_row), self.max_steps
        )
        if self.mask is not None:
            gate = ForcedSteps(gate, self.mask)
        return WarmUp(gate, self.warmup, self.interval)

    def padded(self, num_steps: int, length: int) -> DBPrune:
        """See `jax_stepcache.policy.gates.padded`."""
        del num_steps
        if self.mask is None:
            return self
        return replace(self, mask=resized(jnp.asarray(self.mask, bool), length, False))

    def init(self, view: View, num_steps: int) -> DBPruneState:
        """See `Policy.init`; the view is that of a block."""
        del num_steps
        none = jnp.full((), -1, jnp.int32)
        zero = jnp.zeros((), jnp.int32)
        changes = jnp.zeros(_LOOKED_AT, jnp.float32)
        leaves = jax.tree.leaves(view.entering)
        return DBPruneState(
            Counts(none, changes, zero, zero, zero, none),
            jax.tree.map(jnp.zeros_like, view.entering),
            tuple(self.forecast.init(like) for like in leaves),
            jnp.zeros((), bool),
        )

    def after(self, state: DBPruneState, before: DBPruneState) -> DBPruneState:
        """A block's state behind the block before it.

        Args:
            state: its own.
            before: the other's, after this step.

        Returns:
            Its own, with what all count together.
        """
        return state._replace(counts=before.counts)

    def decide(self, state: DBPruneState, view: View) -> Decision:
        """See `Policy.decide`, for one block."""
        step, counts = view.step, _at_step(state.counts, view.step)
        limit = self._limit(counts)
        runs = (step < jnp.asarray(self.warmup, jnp.int32)) & (
            step % jnp.asarray(self.interval, jnp.int32) == 0
        )
        reuses = jnp.zeros((), bool)
        if self.mask is not None:
            mask = jnp.asarray(self.mask, bool)
            runs |= (step < mask.shape[0]) & mask[step]
            reuses = ~runs & self.reuses
        runs |= ~reuses & _reached(counts.skipped, self.max_steps)
        # A row is of steps before this one; that of all steps counts it already.
        row = counts.row - (counts.last == step).astype(jnp.int32)
        runs |= ~reuses & _reached(row, self.max_row)
        looks = ~(runs | reuses) & state.recorded & (limit > 0)
        change, always = _change(state.entered, view.entering), limit >= 1
        compares = looks & ~always
        reuses |= looks & (always | (change < limit))
        counts = _noted(counts, looks, jnp.where(always, jnp.float32(-1), change))
        counts = _skipped(counts, reuses, step)
        nothing = jnp.float32(jnp.nan)
        return Decision(
            ~reuses,
            jnp.where(compares, change, nothing),
            state._replace(counts=counts),
            jnp.where(compares, limit, nothing),
        )

    def record(self, state: DBPruneState, view: View, value: Any) -> DBPruneState:
        """See `Policy.record`: what the block has added."""
        here = _point(view)
        memory = tuple(
            self.forecast.record(old, here, new)
            for old, new in zip(state.memory, jax.tree.leaves(value), strict=True)
        )
        recorded = jnp.ones_like(state.recorded)
        return DBPruneState(state.counts, view.entering, memory, recorded)

    def predict(self, state: DBPruneState, view: View) -> Any:
        """See `Policy.predict`."""
        here = _point(view)
        added = [self.forecast.predict(one, here) for one in state.memory]
        return jax.tree.unflatten(jax.tree.structure(view.entering), added)

    def _limit(self, counts: Counts) -> jax.Array:
        """The threshold, relaxed by what the blocks before have changed."""
        limit = jnp.asarray(self.threshold, jnp.float32)
        place = jnp.arange(_LOOKED_AT, dtype=jnp.int32)
        seen = (place < counts.compared) & (counts.changes > 0)
        total = jnp.where(seen, counts.changes, 0).sum()
        mean = total / jnp.maximum(seen.sum(dtype=jnp.float32), 1)
        relaxed = mean * jnp.asarray(self.relax, jnp.float32)
        low = relaxed < jnp.asarray(self.highest, jnp.float32)
        return jnp.where(low, jnp.maximum(limit, relaxed), limit)


@naming_arguments(
    {
        "fncomputeblocks": "first_blocks",
        "bncomputeblocks": "last_blocks",
        "residualdiffthreshold": "threshold",
        "nonpruneblockids": "non_prune_blocks",
    }
)
def db_prune(
    threshold: float | jax.Array = 0.24,
    *,
    first_blocks: int = 1,
    last_blocks: int = 0,
    non_prune_blocks: Sequence[int] = (),
    warmup_steps: int | jax.Array = 4,
    warmup_interval: int | jax.Array = 1,
    max_cached_steps: int | jax.Array = -1,
    max_continuous_cached_steps: int | jax.Array = 3,
    dynamic: bool = False,
    max_dynamic: float | jax.Array | None = None,
    relax_ratio: float | jax.Array = 1.25,
    steps_mask: Sequence[bool] | np.ndarray | jax.Array | None = None,
    steps_policy: str = "dynamic",
    forecast: Any = "hold",
) -> DBPrune:
    """DBPrune, as in cache-dit: DBCache's rules for every block by itself.

    Each block remembers what entered it and what it added where it last ran. Under
    guidance each branch goes by itself, a dynamic threshold too; cache-dit's goes by
    the conditional branch's changes for both.

    Args:
        threshold: relative change of what enters a block, below which it is skipped.
            0 skips nothing; 1 or more skips wherever warm-up, mask and caps let it.
        first_blocks: blocks that always run first.
        last_blocks: blocks that always run last.
        non_prune_blocks: others that always run, counted from 0.
        warmup_steps: steps that run first.
        warmup_interval: of these, every so many run.
        max_cached_steps: cap on all steps at which a block is skipped; -1 for none.
        max_continuous_cached_steps: cap on consecutive ones; -1 for none.
        dynamic: whether the threshold rises to the mean of the first five changes of a
            step, times ``relax_ratio``.
        max_dynamic: a dynamic threshold that would be so high is not taken; None for
            twice the threshold.
        relax_ratio: see ``dynamic``.
        steps_mask: bool[num_steps], true at steps that must compute; see `steps_mask`.
        steps_policy: what the other steps of the mask do: ``"dynamic"`` decides,
            ``"static"`` reuses all blocks.
        forecast: what stands in for what a block adds.

    Returns:
        The policy.

    Raises:
        ValueError: for settings that do not fit.
        TypeError: likewise.
    """
    check_count("Fn_compute_blocks", first_blocks)
    check_count("Bn_compute_blocks", last_blocks)
    check_flag("enable_dynamic_prune_threshold", dynamic)
    if steps_policy not in MASK_POLICIES:
        raise ValueError(unknown_name("scm_steps_policy", steps_policy, MASK_POLICIES))
    check_numbers("residual_diff_threshold", threshold, least=0.0)
    check_numbers("dynamic_prune_threshold_relax_ratio", relax_ratio, least=0.0)
    if max_dynamic is not None:
        check_numbers("max_dynamic_prune_threshold", max_dynamic, least=0.0)
    check_count("max_warmup_steps", warmup_steps)
    check_count("warmup_interval", warmup_interval, 1)
    check_count("max_cached_steps", max_cached_steps, -1)
    check_count("max_continuous_cached_steps", max_continuous_cached_steps, -1)
    span = EachBlock(first_blocks, last_blocks, tuple(non_prune_blocks))
    mask = None if steps_mask is None else checked_mask(steps_mask)
    warmup = leaf(warmup_steps, np.int32)
    if mask is not None:
        warmup = at_most_leading(warmup, mask)
    limit = leaf(threshold, np.float32)
    highest = 2 * fetched(limit) if max_dynamic is None else max_dynamic
    return DBPrune(
        threshold=limit,
        relax=leaf(relax_ratio if dynamic else 0.0, np.float32),
        highest=leaf(highest, np.float32),
        warmup=warmup,
        interval=leaf(warmup_interval, np.int32),
        max_steps=leaf(max_cached_steps, np.int32),
        max_row=leaf(max_continuous_cached_steps, np.int32),
        # Checked as that of any other policy within the network.
        forecast=compose(
            gate=Mask(np.ones(1, bool)), forecast=forecast, span=span
        ).forecast,
        span=span,
        mask=mask,
        reuses=steps_policy == "static",
    )


def _at_step(counts: Counts, step: jax.Array) -> Counts:
    """The counts at a step, where another one's changes and rows are nothing."""
    compared = jnp.where(counts.step == step, counts.compared, 0)
    goes_on = (counts.last == step) | (counts.last == step - 1)
    row = jnp.where(goes_on, counts.row, 0)
    return counts._replace(step=step, compared=compared, row=row)


def _noted(counts: Counts, looks: jax.Array, change: jax.Array) -> Counts:
    """The counts with one more change, where a block has looked."""
    at = jnp.where(looks, counts.compared, _LOOKED_AT)
    changes = counts.changes.at[at].set(change, mode="drop")
    compared = counts.compared + looks.astype(jnp.int32)
    return counts._replace(changes=changes, compared=compared)


def _skipped(counts: Counts, reuses: jax.Array, step: jax.Array) -> Counts:
    """The counts behind a block that reuses or not; a step counts once."""
    new = reuses & (counts.last != step)
    return counts._replace(
        skipped=counts.skipped + new.astype(jnp.int32),
        row=counts.row + new.astype(jnp.int32),
        last=jnp.where(new, step, counts.last),
    )


def _reached(count: jax.Array, cap: ArrayLike) -> jax.Array:
    cap = jnp.asarray(cap, jnp.int32)
    return (cap >= 0) & (count >= cap)


def _change(old: Any, new: Any) -> jax.Array:
    """How far what enters a block is from what entered it, mean over the arrays."""
    pairs = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
    return jnp.stack([relative_l1(a, b) for a, b in pairs]).mean()


def _point(view: View) -> Point:
    sigma = jnp.float32(jnp.nan) if view.inside is None else view.inside.sigma
    return Point(view.step, sigma, None)
