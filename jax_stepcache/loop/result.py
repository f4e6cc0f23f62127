"""What sampling returns: the sample, and an account of how it was made."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from jax_stepcache.check import fetched
from jax_stepcache.loop.placeholders import ReadAsNumbers, of_bits
from jax_stepcache.loop.unused import why_unused
from jax_stepcache.policy.asked import Asked


class _BranchesLeaves(NamedTuple):
    computed: jax.Array
    signal: jax.Array
    threshold: jax.Array


class Branches(ReadAsNumbers, _BranchesLeaves):
    """What each guidance branch decided, the conditional one first.

    Attributes:
        computed: bool[num_steps, branches], true where the branch computed its span.
        signal: float32[num_steps, branches], what its gate compared; a leaf as in
            `Stats`.
        threshold: float32[num_steps, branches], with what; likewise.
    """

    __slots__ = ()

    @property
    def signal(self) -> jax.Array:  # pyright: ignore
        """See the class."""
        return of_bits(self.leaf("signal"))

    @property
    def threshold(self) -> jax.Array:  # pyright: ignore
        """See the class."""
        return of_bits(self.leaf("threshold"))


class Batching(NamedTuple):
    """Where a request ran that decided for itself among others.

    Attributes:
        slot: int32 scalar, the slot it was in.
        call: int32[num_steps], how many network calls had been made, for all requests
            together, when each step was decided. A step that ran was served by the
            call of this index.
        network_calls: int32 scalar, how many had been made when the result was fetched:
            of `sample_many` and of a batch, all of them.
        inside: bool scalar, whether the cache is inside the network: then every call
            takes each slot one step, and a skipped step is in a call, too.
    """

    slot: jax.Array | np.ndarray
    call: jax.Array | np.ndarray
    network_calls: jax.Array | np.ndarray
    inside: jax.Array | np.ndarray


class _StatsLeaves(NamedTuple):
    computed: jax.Array
    signal: jax.Array
    model_calls: jax.Array
    nonfinite: jax.Array
    threshold: jax.Array | float = float("nan")
    branches: Branches | None = None
    batching: Batching | None = None
    asked: Asked | None = None
    blocks: Branches | None = None


class Stats(ReadAsNumbers, _StatsLeaves):
    """Which steps ran the network.

    The leaves of ``signal`` and ``threshold``, which `jax.tree.leaves` shows, are the
    bits of these numbers as int32: there NaN is an answer, and nothing for
    ``jax_debug_nans`` to stop at.

    Attributes:
        computed: bool[num_steps], true where the network ran; of a cache inside the
            network, where its span ran, for any guidance branch.
        signal: float32[num_steps], what the gate compared (the conditional branch's,
            where they decide apart); NaN where it did not look.
        model_calls: int32 scalar, how often the network, or the span, ran.
        nonfinite: bool scalar, whether any velocity held a NaN or an infinity.
        threshold: float32[num_steps], what the signal was compared with.
        branches: what each guidance branch decided, where they decide apart; or None.
        batching: where the request ran, if it decided for itself among others; or
            None. Of a batch sampled with ``decide="sample"`` all arrays have a leading
            axis of the batch.
        asked: what was asked of the cache, a remark without arrays; or None.
        blocks: of a cache that decides for each block by itself what it decided, with a
            last axis of the blocks that it may skip; or None. ``computed`` is true
            then where any of them ran, and ``signal`` is the first one's.
    """

    __slots__ = ()

    @property
    def signal(self) -> jax.Array:  # pyright: ignore
        """See the class."""
        return of_bits(self.leaf("signal"))

    @property
    def threshold(self) -> jax.Array | float:  # pyright: ignore
        """See the class."""
        return of_bits(self.leaf("threshold"))

    def __repr__(self) -> str:
        """One line with the steps as a strip: filled where the network ran."""
        # Inside a transformation, or as a batch, there is no one run to draw.
        if not all(map(_has_values, self[:4])) or np.ndim(self.computed) != 1:
            return f"Stats(computed={self.computed}, model_calls={self.model_calls})"
        warning = ", NON-FINITE VALUES" if fetched(self.nonfinite) else ""
        judged, shown, other = self.computed, self.computed, ""
        if self.asked is not None and self.asked.apart and self.branches is not None:
            shown = np.asarray(fetched(self.branches.computed))[:, 1]
            other = f", {shown.sum()} its unconditional branch"
            judged = self.computed if self.asked.interval else shown
        signal, threshold = self.signal, self.threshold
        if self.blocks is not None:
            ran = np.asarray(fetched(self.blocks.computed))
            other += f", {ran.any(axis=1).mean():.0%} of its blocks"
            judged = ran.all(axis=(1, 2))
            # Of each step the block that was nearest to being skipped.
            signal, threshold = (
                least(fetched(x), axis=(1, 2))
                for least, x in (
                    (np.fmin.reduce, self.blocks.signal),
                    (np.fmax.reduce, self.blocks.threshold),
                )
            )
        why = why_unused(judged, signal, threshold, self.asked)
        unused = "" if why is None else f", nothing was skipped: {why}"
        return (
            f"Stats({strip(shown)} {int(fetched(self.model_calls))} of "
            f"{len(self.computed)} steps ran the model{other}{unused}{warning})"
        )


def stats_of(
    computed: Any, ran: Any, signal: Any, threshold: Any, nonfinite: Any
) -> Stats:
    """Makes the statistics of what a loop has noted; arrays may have leading axes.

    Args:
        computed: bool[num_steps].
        ran: bool[num_steps, branches], where guidance branches decide apart; with a
            further axis of blocks, where these do; or None.
        signal: int32[num_steps], or with the axes of ``ran``, the bits of the signal.
        threshold: the same, of the threshold.
        nonfinite: bool scalar.

    Returns:
        The statistics.
    """
    branches = blocks = None
    if ran is not None and ran.ndim > computed.ndim + 1:
        blocks = Branches(ran, signal, threshold)
        ran, signal, threshold = ran.any(-1), signal[..., 0], threshold[..., 0]
    if ran is not None:
        branches = Branches(ran, signal, threshold) if ran.shape[-1] > 1 else None
        signal, threshold = signal[..., 0], threshold[..., 0]
    calls = computed.sum(axis=-1, dtype=np.int32)
    return Stats(computed, signal, calls, nonfinite, threshold, branches, blocks=blocks)


class SampleResult(NamedTuple):
    """A sample and its statistics; a pytree.

    Attributes:
        sample: the sample at the end of the schedule, in the noise's structure, shapes
            and dtypes.
        stats: what happened on the way.
    """

    sample: Any
    stats: Stats

    def __repr__(self) -> str:
        """The shapes of the sample, and the steps as a strip."""
        shapes = jax.tree.map(_shape, self.sample)
        return f"SampleResult(sample={shapes}, stats={self.stats!r})"


def strip(computed: Any) -> str:
    """Draws steps as text, ``█`` where the network ran and ``·`` where it did not."""
    return shown("".join("█" if ran else "·" for ran in np.asarray(fetched(computed))))


_PLAIN = str.maketrans({"█": "#", "·": ".", "±": "+-", "²": "^2"})


def shown(text: str) -> str:
    """A text in letters that standard output has, as a Windows console has not all.

    What is printed must not fail, and lose a result, for how it looks.
    """
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return text.translate(_PLAIN)
    return text


def _has_values(x: Any) -> bool:
    return isinstance(x, np.ndarray | np.generic | jax.Array) and not isinstance(
        x, Tracer
    )


def _shape(x: Any) -> str:
    return f"{x.dtype}{list(x.shape)}" if hasattr(x, "dtype") else repr(x)
