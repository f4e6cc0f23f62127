"""What a policy offers so that robots can be served: sessions, stepped together."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np


class Reply(NamedTuple):
    """What a control step gives one robot.

    Attributes:
        session: to go on with; the one before it may have been given away.
        actions: float32 (A, n), one row for each control step of the robot.
        computed: bool (steps,), which steps of the sampler ran the network.
    """

    session: Any
    actions: np.ndarray
    computed: np.ndarray


@runtime_checkable
class Policy(Protocol):
    """A policy that robots are served by. One thread at a time calls it.

    Sessions are the policy's own: the server holds them, and looks into none.

    Attributes:
        metadata: what a robot is told when it connects; msgpack's types.
        options: what a request may ask for under ``options``: of each name in words
            what is allowed.

    Three more it may have, two of words by name. ``message`` says of each key of a
    message what it holds: robots read it at ``/policy``, and a key that is none of
    these and nearly one of the server's, or an option's name, is refused.
    ``unavailable`` says of options that there are with other settings why they are not
    taken with these. ``variants`` are options that run other programs than none do,
    and are compiled for before anybody is served.
    """

    metadata: Mapping[str, Any]
    options: Mapping[str, str]

    def open(self) -> Any:
        """Begins a robot's session. Quick: nothing is computed, in any thread."""
        ...

    def check(
        self, session: Any, message: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Hashable:
        """Looks at a request, and computes nothing.

        Args:
            session: where the robot stands.
            message: what it sent.
            options: what it asks for; names of `options` only.

        Returns:
            Its kind, as a word or a tuple of them: programs are compiled for each, so
            that a server takes so many and no more. None where all messages run the
            same programs.

        Raises:
            ValueError: for what does not fit, naming its key.
            TypeError: for what is of another kind; likewise.
        """
        ...

    def step_many(
        self,
        sessions: Sequence[Any],
        messages: Sequence[Mapping[str, Any]],
        options: Sequence[Mapping[str, Any]],
    ) -> list[Reply]:
        """Takes a control step with each of several robots, each as if it were alone.

        Args:
            sessions: all different.
            messages: one of each.
            options: likewise.

        Returns:
            The replies, in the same order, with their arrays on the host.

        Raises:
            ValueError: before anything is computed; all sessions are unchanged then.
            TypeError: likewise.
        """
        ...

    def reset(self, session: Any) -> Any:
        """The session after the robot has begun another episode."""
        ...

    def film(self, session: Any) -> np.ndarray:
        """What the robot has imagined lately, uint8 (F, H, W, 3), F may be 0.

        Robots wait meanwhile: all lengths are one compiled program, which the server
        asks for before anybody is served.
        """
        ...

    def save(self, folder: Path, session: Any) -> None:
        """Writes a session into an empty folder."""
        ...

    def load(self, folder: Path) -> Any:
        """Reads a session, bit for bit.

        Raises:
            ValueError: if it is damaged, or of another policy.
        """
        ...

    def examples(self, robots: int) -> Sequence[Sequence[Mapping[str, Any]]]:
        """Messages to compile for, before anybody is served.

        Args:
            robots: how many are stepped together.

        Returns:
            For each step of new sessions a message of each robot. Together they run
            every program that robots' messages may need, however a session goes on.
        """
        ...


def message_of(policy: Policy) -> Mapping[str, str]:
    """What the keys of a message hold, in words; none where the policy says nothing."""
    return getattr(policy, "message", {})


def unavailable_of(policy: Policy) -> Mapping[str, str]:
    """Options that are not taken, and why, where the policy says so."""
    return getattr(policy, "unavailable", {})


def variants_of(policy: Policy) -> Sequence[Mapping[str, Any]]:
    """Options that are compiled for besides none."""
    return getattr(policy, "variants", ())
