"""The loop over network calls: between two of them, every slot walks by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jax_stepcache.batching.forward import SlotForward, walking
from jax_stepcache.batching.settings import Settings
from jax_stepcache.batching.slots import Slots
from jax_stepcache.meshes.varying import scan, while_loop

# Steps that a slot decides about before anybody asks whether it has to walk on: those
# behind a call at a quarter of all steps, a usual share. Whoever waits stands still.
WALKS = 4


class Running(NamedTuple):
    """The loop's carry.

    Attributes:
        slots: the slots.
        condition: what the network is told besides, the rows of all slots.
        queue: where requests come from and results go; () for a fixed batch.
    """

    slots: Slots
    condition: Any
    queue: Any


class Feed(Protocol):
    """Where requests come from and go to."""

    def settings(self, running: Running) -> Settings:
        """Those of the requests in the slots, with a leading axis of slots."""
        ...

    def put_away(self, running: Running) -> Running:
        """Puts the results of slots that are done away; these are idle then."""
        ...

    def pending(self, running: Running) -> jax.Array | None:
        """Whether an idle slot can take a request, bool scalar; None if none ever."""
        ...

    def take(self, running: Running) -> Running:
        """Lets one idle slot take a request, where one is pending."""
        ...


@dataclass(frozen=True)
class FixedBatch:
    """One request for each slot, and no other.

    Attributes:
        requests: their settings.
    """

    requests: Settings

    def settings(self, running: Running) -> Settings:
        """See `Feed.settings`."""
        del running
        return self.requests

    def put_away(self, running: Running) -> Running:
        """See `Feed.put_away`; results stay where they are."""
        return running

    def pending(self, running: Running) -> jax.Array | None:
        """See `Feed.pending`."""
        del running

    def take(self, running: Running) -> Running:
        """See `Feed.take`."""
        return running


def run_slots(
    forward: SlotForward,
    feed: Feed,
    running: Running,
    limit: jax.Array | int | None = None,
    calls: int | None = None,
) -> tuple[Running, jax.Array]:
    """Runs until no slot wants the network any more.

    Args:
        forward: how slots come by their velocities.
        feed: where requests come from.
        running: where to begin.
        limit: int32 scalar, network calls to make at most; None for no limit. The slots
            can be run further afterwards.
        calls: how many network calls there are going to be, where that is known: each
            slot waits for each of its steps, and all have as many. A GPU's host has
            nothing to ask then.

    Returns:
        Where it ended, and the network calls it made, an int32 scalar.
    """
    at_once = forward.waits_at_once(feed.settings(running), running.slots)

    def walked(running: Running) -> Running:
        settings = feed.settings(running)

        def walk(slots: Slots, _: Any) -> tuple[Slots, None]:
            return forward.walk(settings, slots), None

        slots, _ = scan(walk, running.slots, None, length=1 if at_once else WALKS)
        return feed.put_away(running._replace(slots=slots))

    def unsettled(running: Running) -> jax.Array:
        pending = feed.pending(running)
        walks = walking(feed.settings(running), running.slots).any()
        return walks if pending is None else walks | pending

    def settle(running: Running) -> Running:
        if feed.pending(running) is not None:
            # A loop of its own: what slots are shown is not touched by those that walk.
            running = while_loop(feed.pending, feed.take, running)
        return walked(running)

    def settled(running: Running) -> Running:
        running = walked(running)
        if at_once and feed.pending(running) is None:
            return running
        return while_loop(unsettled, settle, running)

    def called(running: Running) -> Running:
        slots = forward.call(feed.settings(running), running.slots, running.condition)
        slots = slots._replace(clock=slots.clock + 1)
        return settled(running._replace(slots=slots))

    def asked(running: Running, calls: jax.Array) -> tuple[Any, Any, Any]:
        going = running.slots.waits.any()
        if limit is not None:
            going &= calls < limit
        return running, calls, going

    # What a call computed is walked to its end and put away before the loop is asked
    # whether to go on, so that the loop's own question is whether to call: a GPU's host
    # waits for that one and, where steps may be skipped, for whether slots walk on.
    running = settled(running)
    if calls is not None:
        running, _ = scan(lambda now, _: (called(now), None), running, None, calls)
        return running, jnp.full((), calls, jnp.int32)
    running, made, _ = while_loop(
        lambda state: state[2],
        lambda state: asked(called(state[0]), state[1] + 1),
        asked(running, jnp.zeros((), jnp.int32)),
    )
    return running, made
