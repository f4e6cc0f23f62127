"""How a table is fitted: what a caller may choose."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from jax_stepcache.check import check_count, check_numbers
from jax_stepcache.errors import naming_fields, unknown_name
from jax_stepcache.paths import as_path

_SLOPES = ("reverse", "remat", "forward")


@naming_fields()
@dataclass(frozen=True)
class TableFit:
    """How a table is fitted.

    Attributes:
        steps: of Adam, at most.
        seconds: it takes at most, compiling included; None for no limit. Where it is
            reached two runs may differ.
        batch: samples that a step looks at.
        learning_rate: of Adam along directions in which the loss is curved alike;
            falls to 0 by half a cosine.
        curvature: samples of which these directions are taken, by forward mode, or by
            reverse mode where the network has no other; at the start and half way.
        patience: looks at the held-out samples, one every 20 steps, that may go by
            without a better table, before the fit goes back to the best and on from
            there at half the rate; the third time it ends.
        pooled: share of the logarithm of the mean squared error over all samples in the
            loss; the rest is the mean of the logarithms of each. 0 lets a few samples
            go wrong for the sake of the others, 1 looks at little else. Or a share for
            each output by its name.
        outputs: the weight of each output by its name, 0 or more, and not all of them
            0; None for equal ones. One that is not named weighs 1.
        reference_steps: plain steps of what the samples should come near to; None for
            the sampler's own.
        slopes: how derivatives are made: ``"reverse"``, which remembers what is in the
            network; ``"remat"``, which remembers what goes into each block, of networks
            in stages, and else what goes into the network; or ``"forward"``, a pass for
            each number of the table, with nothing remembered at all: for large models.
        accumulate: batches that a step looks at, one after the other.
        resume: a file that keeps what has been reached, and to go on from where it is
            there; None for none. Samples, reference, guidance and the weights of
            outputs must be the same; how the descent goes on may be another, such as
            ``steps``, ``seconds`` or ``learning_rate``.
        known: a file of settings, see `save_settings`: its schedule and its tables are
            starts, too. A model's own are without asking.
        progress: True shows a bar; or a function that is given a `Looked`.
    """

    steps: int = 300
    seconds: float | None = 180.0
    batch: int = 16
    learning_rate: float = 0.05
    curvature: int = 32
    patience: int = 4
    pooled: float | Mapping[str, float] = 0.25
    outputs: Mapping[str, float] | None = None
    reference_steps: int | None = None
    slopes: str = "reverse"
    accumulate: int = 1
    resume: str | os.PathLike[str] | None = None
    known: str | os.PathLike[str] | None = None
    progress: bool | Callable[[Looked], Any] = False

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: for one that does not fit.
            TypeError: for what is no number.
            FileNotFoundError: if there is no file of known settings.
        """
        if self.known is not None and not as_path(self.known, "known").is_file():
            raise FileNotFoundError(f"there is no file of settings at {self.known}")
        for name in ("steps", "batch", "patience", "curvature", "accumulate"):
            check_count(f"fit's {name}", getattr(self, name), 1)
        if self.reference_steps is not None:
            check_count("fit's reference_steps", self.reference_steps, 1)
        if self.seconds is not None:
            check_numbers("fit's seconds", self.seconds, above=0.0)
        if not isinstance(self.outputs, Mapping | None):
            raise TypeError(
                f"fit's outputs is {self.outputs!r:.80}; give weights by the outputs' "
                "names"
            )
        for name, weight in (self.outputs or {}).items():
            check_numbers(f"fit's outputs[{name!r}]", weight, least=0.0)
        if self.slopes not in _SLOPES:
            raise ValueError(unknown_name("slopes of fit", self.slopes, _SLOPES))
        check_numbers("fit's learning_rate", self.learning_rate, above=0.0)
        shares = self.pooled if isinstance(self.pooled, Mapping) else {"": self.pooled}
        for share in shares.values():
            check_numbers("fit's pooled", share)
            if not 0 <= share <= 1:
                raise ValueError(f"fit's pooled is {share}; it must be in [0, 1]")


class Looked(NamedTuple):
    """What a look at the held-out samples has found.

    Attributes:
        step: after so many steps of Adam.
        steps: of so many.
        decibels: how far errors have shrunk since the start, mean over outputs, dB.
        best: the most so far.
    """

    step: int
    steps: int
    decibels: float
    best: float
