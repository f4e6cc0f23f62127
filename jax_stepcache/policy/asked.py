"""What is asked of a cache, and whether it can reuse anything in a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jax_stepcache.policy.gates.certain import Certain, on_host
from jax_stepcache.policy.named.cfg_cache import Unconditional
from jax_stepcache.policy.named.restarting import Restarting
from jax_stepcache.policy.named.switching import Switching
from jax_stepcache.policy.named.uncached import Uncached
from jax_stepcache.policy.span import each_branch


@jax.tree_util.register_static
@dataclass(frozen=True, eq=False)
class Asked:
    """What was asked of a cache: a remark and no data, so all of them are equal.

    It goes along with results, through transformations too, and makes no difference to
    what is compiled, nor to which trees fit each other.

    Attributes:
        cache: whether there is a cache.
        never: why it can reuse nothing, whatever its signal says; None where it can, or
            where that cannot be told.
        meant: whether that is what was asked for.
        apart: whether guidance branches are asked one by one, so that one which is
            skipped costs nothing.
        interval: whether it is a guidance interval, and no cache, that leaves the
            unconditional branch out.
    """

    cache: bool = False
    never: str | None = None
    meant: bool = False
    apart: bool = False
    interval: bool = False

    def __eq__(self, other: object) -> bool:
        """Whether the other is such a remark, too."""
        return isinstance(other, Asked)

    def __hash__(self) -> int:
        """The same for all."""
        return hash(Asked)


def asked_of(policy: Any, num_steps: int, branches: int = 1) -> Asked:
    """Finds out whether a policy can reuse anything in a run.

    Args:
        policy: the policy.
        num_steps: steps of the run.
        branches: guidance branches, each of which is a forward of its own.

    Returns:
        What is asked of it. Numbers on a device, or traced, are not looked at.
    """
    if isinstance(policy, Uncached):
        return Asked()
    apart = branches > 1 and each_branch(getattr(policy, "span", None))
    if isinstance(policy, Unconditional) and branches == 1:
        return Asked(True, "without guidance there is no unconditional branch")
    first = Certain(np.arange(num_steps) == 0, "the first has nothing to reuse yet")
    found = [*_certain(policy, num_steps, branches), first]
    left = np.ones(num_steps, bool)
    for one in found:
        left &= ~one.steps
    if left.any():
        return Asked(cache=True, apart=apart)
    left[:], taken = True, []
    # What explains most comes first, and no more than it takes.
    for one in sorted(found, key=lambda one: -int(one.steps.sum())):
        if (left & one.steps).any():
            left &= ~one.steps
            taken.append(one)
    why = " and ".join(one.why for one in taken)
    if num_steps == 1:
        why = "the first has nothing to reuse yet, and there is no other"
    return Asked(True, why, any(one.meant for one in taken), apart)


def _certain(policy: Any, num_steps: int, branches: int) -> Iterator[Certain]:
    """All reasons of a policy's gate, and of those that it wraps."""
    local = np.arange(num_steps)
    if isinstance(policy, Restarting):
        hint = on_host(policy.hint)
        if hint is None:
            return
        start = -(-int(hint) // branches)
        since = local % start if policy.repeat else local - start
        local = np.where(local >= start, since, local)
        why = f"it starts afresh before forward {hint} (force_refresh_step_hint)"
        yield Certain(local == 0, why)
        policy = policy.policy
    if isinstance(policy, Switching):
        # When the second takes over is not known: what holds at all steps of both.
        above, below = (
            [one for one in _certain(own, num_steps, branches) if one.steps.all()]
            for own in (policy.above, policy.below)
        )
        if below:
            yield from above
        return
    gate = getattr(policy, "gate", None)
    while gate is not None:
        find = getattr(gate, "certain", None)
        for one in [] if find is None else find(num_steps):
            yield one._replace(steps=one.steps[local])
        gate = getattr(gate, "gate", None)
