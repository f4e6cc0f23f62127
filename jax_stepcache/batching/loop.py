"""The loop over network calls: between two of them, every slot walks by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jax_stepcache.batching.forward import SlotForward, walking
from jax_stepcache.batching.settings import Settings
from jax_stepcache.batching.slots import Slots
from jax_stepcache.meshes.varying import while_loop


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

    def pending(self, running: Running) -> jax.Array:
        """Whether some slot is to be turned over, bool scalar."""
        ...

    def turn(self, running: Running) -> Running:
        """Turns one slot over: puts a result away, takes the next request."""
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

    def pending(self, running: Running) -> jax.Array:
        """See `Feed.pending`."""
        del running
        return jnp.zeros((), bool)

    def turn(self, running: Running) -> Running:
        """See `Feed.turn`."""
        return running


def run_slots(
    forward: SlotForward,
    feed: Feed,
    running: Running,
    limit: jax.Array | int | None = None,
) -> tuple[Running, jax.Array]:
    """Runs until no slot wants the network any more.

    Args:
        forward: how slots come by their velocities.
        feed: where requests come from.
        running: where to begin.
        limit: int32 scalar, network calls to make at most; None for no limit. The slots
            can be run further afterwards.

    Returns:
        Where it ended, and the network calls it made, an int32 scalar.
    """

    def unsettled(running: Running) -> jax.Array:
        walks = walking(feed.settings(running), running.slots)
        return walks.any() | feed.pending(running)

    def settle(running: Running) -> Running:
        running = feed.turn(running)
        slots = forward.walk(feed.settings(running), running.slots)
        return running._replace(slots=slots)

    def settled(running: Running, calls: jax.Array) -> tuple[Any, Any, Any]:
        running = while_loop(unsettled, settle, running)
        going = running.slots.waits.any()
        if limit is not None:
            going &= calls < limit
        return running, calls, going

    def body(state: tuple[Running, jax.Array, jax.Array]) -> Any:
        running, calls, _ = state
        settings = feed.settings(running)
        slots = forward.call(settings, running.slots, running.condition)
        slots = slots._replace(clock=slots.clock + 1)
        return settled(running._replace(slots=slots), calls + 1)

    # What a call computed is walked to its end and put away before the loop is asked
    # whether to go on, so that the loop's own question is whether to call: a GPU's host
    # waits for no other.
    start = settled(running, jnp.zeros((), jnp.int32))
    running, calls, _ = while_loop(lambda state: state[2], body, start)
    return running, calls
