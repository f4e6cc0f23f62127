"""A gate of its own for each list of a network's blocks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp

from jax_stepcache.loop.forward import Within, like_sample
from jax_stepcache.policy.policy import Decision
from jax_stepcache.policy.span import Span
from jax_stepcache.policy.view import View


@dataclass(frozen=True)
class WithinLists:
    """What leaves the blocks of one list enters those of the next; each list decides.

    Attributes:
        within: the network, with no span yet.
        counts: how many blocks each list has.
        spans: what may be skipped in each.
    """

    within: Within
    counts: tuple[int, ...]
    spans: tuple[Span, ...]

    @property
    def noted(self) -> tuple[int, ...]:
        """See `Within.noted`."""
        return self.within.noted

    def init(self, policy: Any, view: View, num_steps: int) -> Any:
        """See `Forward.init`; the policy is an `EachListPolicy`."""
        return tuple(
            one.init(own, view, num_steps)
            for one, own in zip(self._lists(), policy.policies, strict=True)
        )

    def __call__(self, policy: Any, state: Any, view: View) -> tuple[Any, Decision]:
        """See `Forward.__call__`; a step is computed where all lists computed it."""
        hidden, context = self.within.embed(view.sample, view.step)
        decisions = []
        for one, own, kept in zip(self._lists(), policy.policies, state, strict=True):
            entered = one.entered(view, hidden, context)
            hidden, decision = one.passed(own, kept, entered)
            decisions.append(decision)
        said = self.within.head(hidden, context, view.step)
        return like_sample(view.sample, said), _together(decisions)

    def _lists(self) -> list[Within]:
        """Each list as a network whose blocks are its own."""
        offset, found = 0, []
        for i, (count, span) in enumerate(zip(self.counts, self.spans, strict=True)):
            found.append(
                replace(
                    self.within,
                    blocks=functools.partial(_moved, self.within.blocks, offset),
                    # What block 0 is given is not what the first of another list is.
                    modulated=None if i else self.within.modulated,
                    num_blocks=count,
                    span=span,
                )
            )
            offset += count
        return found


def _moved(
    blocks: Callable[..., Any], by: int, hidden: Any, context: Any, a: int, b: int
) -> Any:
    return blocks(hidden, context, a + by, b + by)


def _together(decisions: list[Decision]) -> Decision:
    first = decisions[0]
    ran = None
    each = [one.ran for one in decisions if one.ran is not None]
    if each:
        ran = functools.reduce(jnp.logical_and, each)
    run = functools.reduce(jnp.logical_and, [jnp.asarray(x.run) for x in decisions])
    run = run if ran is None else ran.any()
    states = tuple(one.state for one in decisions)
    return Decision(run, first.signal, states, first.threshold, ran)
