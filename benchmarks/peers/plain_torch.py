"""PyTorch alone: a call, samples, and StepCache as a loop of Python's.

StepCache's rule, as this library's page on policies states it: two calls to begin with;
then, while a countdown is above one, a step is skipped and one is taken off; at one the
network runs; else the cosine of the last two velocities sets the countdown.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable, Mapping

import contract
import numpy as np
import torch
import torch.nn.functional as F
from sit import Sampler, network
from torch import Tensor

THRESHOLD = -1.0


class StepCache:
    """Velocities of a sample, computed or held."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
        self.calls = 0

    def run(self) -> np.ndarray:
        """Samples anew."""
        self.calls, self.countdown = 0, 0
        self.last: Tensor | None = None
        self.cosine: float = -2.0
        return self.sampler.run(self._velocity)

    def _velocity(self, step: int, x: Tensor) -> Tensor:
        if self.last is not None and not self._runs():
            return self.last
        said = self.sampler.ask(x, self.sampler.t[step], self.sampler.label)
        self.calls += 1
        if self.last is not None:
            both = self.last.flatten(1), said.flatten(1)
            self.cosine = F.cosine_similarity(*both).mean().item()
        self.last = said
        return said

    def _runs(self) -> bool:
        if self.calls < 2:
            return True
        if self.countdown > 0:
            self.countdown -= 1
            return self.countdown == 0
        if self.cosine > THRESHOLD:
            self.countdown = contract.COUNTDOWN
            return False
        return True


def contenders(
    given: contract.Given,
) -> Mapping[str, Callable[[], contract.Contender]]:
    """Everything eager, and with `torch.compile`."""
    torch.set_num_threads(1)

    def sampler(compiled: bool) -> Sampler:
        ask = network(given)
        return Sampler(given, torch.compile(ask) if compiled else ask)

    def call(compiled: bool) -> contract.Contender:
        return contract.Contender(sampler(compiled).call, lambda: 1)

    def uncached(compiled: bool) -> contract.Contender:
        return contract.Contender(sampler(compiled).run, lambda: contract.NUM_STEPS)

    def step_cache(compiled: bool) -> contract.Contender:
        cache = StepCache(sampler(compiled))
        return contract.Contender(cache.run, lambda: cache.calls)

    cases = {"call": call, "uncached": uncached, "step_cache": step_cache}
    return {
        f"{name}, {how}": lambda make=make, how=how: make(how == "compiled")
        for name, make in cases.items()
        for how in ("eager", "compiled")
    }


if __name__ == "__main__":
    contract.main(contenders, lambda: {"torch": torch.__version__})
