"""A cache for each list of a network's blocks, such as FLUX's double and single."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.policy import Decision, Policy
from jax_stepcache.policy.span import EachList, Span, each_branch
from jax_stepcache.policy.view import View


@register_dataclass
@dataclass(frozen=True)
class EachListPolicy:
    """Policies that decide alone, each about the blocks of one list.

    The loop asks each of them in turn; so it is no `Policy` that can be asked as one.

    Attributes:
        policies: one for each list, in order.
    """

    policies: tuple[Policy, ...]

    @property
    def span(self) -> EachList:
        """The spans of all lists."""
        spans = tuple(getattr(one, "span", None) or Span() for one in self.policies)
        return EachList(spans[0].first, spans[-1].last, spans)

    @property
    def looks_at(self) -> str:
        """What the first list's signal needs to see."""
        return getattr(self.policies[0], "looks_at", "nothing")

    def init(self, view: View, num_steps: int) -> Any:
        """Not to be asked: see `WithinLists`."""
        raise TypeError(_AS_ONE)

    def decide(self, state: Any, view: View) -> Decision:
        """Likewise."""
        raise TypeError(_AS_ONE)

    def record(self, state: Any, view: View, value: Any) -> Any:
        """Likewise."""
        raise TypeError(_AS_ONE)

    def predict(self, state: Any, view: View) -> Any:
        """Likewise."""
        raise TypeError(_AS_ONE)


def each_list(*policies: Policy) -> EachListPolicy:
    """A policy for each list of a network's blocks; what vLLM-Omni declares for FLUX.

    Args:
        policies: one for each list, in order, with spans inside the network.

    Returns:
        The policy, for ``sample(..., cache=policy)`` of a model with such lists.

    Raises:
        ValueError: if one is around the whole forward, or looks at what only the first
            list has.
    """
    for i, one in enumerate(policies):
        span = getattr(one, "span", None)
        if span is None or type(span) is not Span or each_branch(span):
            raise ValueError(
                f"the policy of list {i} is not within the blocks: its span is "
                f"{span!r}. Give one such as db_cache(...)"
            )
        if i and getattr(one, "looks_at", "") == "modulated":
            raise ValueError(
                f"the policy of list {i} looks at the modulated input of block 0, "
                "which belongs to the first list"
            )
    return EachListPolicy(tuple(policies))


_AS_ONE = (
    "each list of blocks decides by itself here, batch by batch; slots, requests and "
    "calibration take one policy for all blocks"
)
