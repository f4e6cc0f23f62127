"""Models whose weights come along: what was found for these is for no other sizes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from jax_stepcache.network.protocol import (
    OptimisedLevels,
    TunedSchedule,
    TunedTable,
)
from jax_stepcache.network.tuned import TunedFile


class Bundled:
    """Answers of a model by the file beside its weights.

    Attributes:
        name: the model's name.
        tuned_file: what calibrations have found.
        other_ways: for who asks for a schedule with other sizes.
    """

    name: str
    tuned_file: ClassVar[TunedFile]
    other_ways: ClassVar[str] = "use cache='static' with a steps_mask of your own"

    @property
    @abstractmethod
    def is_bundled(self) -> bool:
        """Whether it has the bundled weights' sizes, however it is run."""

    def tuned(self, budget: int) -> TunedSchedule:
        """See `Model.tuned`."""
        if not self.is_bundled:
            raise ValueError(
                f"{self.name} has no tuned schedule of {budget} model calls for these "
                f"sizes; {self.other_ways}"
            )
        return self.tuned_file.schedule(budget)

    def bespoke(self, budget: int) -> TunedTable:
        """See `jax_stepcache.network.protocol.Tabled`."""
        if not self.is_bundled:
            raise ValueError(f"{self.name} has no tables for these sizes")
        return self.tuned_file.table(budget)

    def optimised(self, num_steps: int) -> OptimisedLevels:
        """See `jax_stepcache.network.protocol.Spaced`."""
        if not self.is_bundled:
            raise ValueError(f"{self.name} has no optimised levels for these sizes")
        return self.tuned_file.levels(num_steps)

    def calibrated(self, backend: str, num_steps: int) -> dict[str, Any]:
        """See `jax_stepcache.network.protocol.Calibrated`."""
        del num_steps
        return self.tuned_file.settings(backend) if self.is_bundled else {}
