"""Batches of a data set, read ahead with `grain`: which rows a step sees, and whose.

The order is a function of the seed and the step's number, the same in every process and
for any number of them. A process reads those rows of a batch that lie on its devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import NamedSharding

_MISSING = "training data are read with grain: pip install 'jax-stepcache[finetune]'"
# Batches that are ready before they are asked for, and threads that read them.
_AHEAD = 2
_THREADS = 2


class Rows(Protocol):
    """A data set with random access, as `grain.sources` has them."""

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def __getitem__(self, row: Any) -> Any:
        """A row: a pytree of arrays, the same for all rows but for the numbers."""
        ...


@dataclass(frozen=True)
class Order:
    """Which rows a step sees: each epoch is a shuffle of all, drawn anew. Static.

    Attributes:
        count: how many rows there are.
        batch: rows of a step; those that fill no batch are left out of an epoch.
        seed: of the shuffles.
    """

    count: int
    batch: int
    seed: int

    def __post_init__(self) -> None:
        """Raises a ValueError for a seed that no shuffle takes."""
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it must be at least 0")

    def rows(self, step: int) -> np.ndarray:
        """The rows of a step.

        Args:
            step: the step's number, from 0.

        Returns:
            int64[batch], in the order of the batch.
        """
        epoch, place = divmod(step, self.count // self.batch)
        shuffled = _grain().MapDataset.range(self.count).seed(self.seed).shuffle()
        # Beyond its length a shuffle goes on with another one.
        first = epoch * self.count + place * self.batch
        return np.array([shuffled[first + i] for i in range(self.batch)], np.int64)


@dataclass
class Loader:
    """Batches by the number of their step, read ahead while steps are taken in order.

    Attributes:
        source: the rows.
        order: which of them a step sees.
        steps: of the run; nothing is read ahead beyond.
        where: how a batch's rows lie on the devices; None for the default device.
    """

    source: Rows
    order: Order
    steps: int
    where: NamedSharding | None = None
    _next: int = field(default=-1, init=False, repr=False)
    _ahead: Iterator[Any] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Raises an ImportError without grain, before anything is compiled."""
        _grain()

    def batch_at(self, step: int) -> Any:
        """The batch of a step.

        Args:
            step: the step's number, from 0. The one after the last that was asked for
                has been read already; any other is begun from anew.

        Returns:
            A pytree of [batch, ...] arrays, spread over the devices.
        """
        if self._ahead is None or step != self._next:
            self.close()
            self._ahead = self._read_from(step)
        mine = next(self._ahead)
        self._next = step + 1
        return jax.tree.map(self._over_devices, mine)

    def close(self) -> None:
        """Ends reading ahead."""
        if self._ahead is not None:
            self._ahead.close()  # pyright: ignore[reportAttributeAccessIssue]
        self._ahead = None

    def places(self) -> np.ndarray:
        """Which rows of a batch this process reads.

        Returns:
            int64[n], places in the batch, ascending.
        """
        every = np.arange(self.order.batch)
        if self.where is None:
            return every
        parts = self.where.addressable_devices_indices_map((self.order.batch,))
        return np.unique(np.concatenate([every[part] for part in parts.values()]))

    def _read_from(self, step: int) -> Iterator[Any]:
        grain, places = _grain(), self.places()

        def read(step: int) -> Any:
            rows = [self.source[int(row)] for row in self.order.rows(step)[places]]
            return jax.tree.map(lambda *each: np.stack(each), *rows)

        steps = grain.MapDataset.range(step, max(self.steps, step + 1)).map(read)
        reading = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_AHEAD)
        return iter(steps.to_iter_dataset(reading))

    def _over_devices(self, mine: np.ndarray) -> jax.Array:
        if self.where is None:
            return jax.numpy.asarray(mine)
        places = self.places()

        def part(index: Any) -> np.ndarray:
            # A device's rows lie one after the other, and so do they in what was read.
            start, stop, _ = index[0].indices(self.order.batch)
            first = int(np.searchsorted(places, start))
            return mine[(slice(first, first + stop - start), *index[1:])]

        shape = (self.order.batch, *mine.shape[1:])
        return jax.make_array_from_callback(shape, self.where, part)


def _grain() -> Any:
    try:
        import grain
    except ImportError as error:
        raise ImportError(_MISSING) from error
    return grain
