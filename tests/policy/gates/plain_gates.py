"""The gates' rules in plain Python, for comparison with the compiled ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

F = np.float32
NAN = float("nan")


class PlainGate:
    """A gate: what it says of a step, and what it remembers."""

    recorded = False

    def decide(self, step: int, signal: float) -> tuple[bool, float]:
        """Whether to run, and what was compared."""
        raise NotImplementedError

    def record(self) -> None:
        """The span has run."""
        self.recorded = True


class PlainBelow(PlainGate):
    """DBCache's last rules, 6 to 9; infinity is no cap."""

    def __init__(self, threshold: float, cap: float, inclusive: bool = False) -> None:
        self.threshold, self.cap, self.inclusive = F(threshold), F(cap), inclusive
        self.total = F(0)

    def decide(self, step: int, signal: float) -> tuple[bool, float]:
        capped = self.cap != np.inf and self.total >= self.cap
        if not self.recorded or capped:
            return True, NAN
        if self.threshold == np.inf:
            return False, NAN
        self.total = F(self.total + F(signal))
        small = signal <= self.threshold if self.inclusive else signal < self.threshold
        return not small, signal


class PlainAccumulate(PlainGate):
    """TeaCache's: changes add up until they reach the threshold."""

    def __init__(self, threshold: float, coefficients: Sequence[float] | None) -> None:
        self.threshold, self.coefficients = F(threshold), coefficients
        self.total = F(0)

    def decide(self, step: int, signal: float) -> tuple[bool, float]:
        if not self.recorded:
            return True, NAN
        if self.coefficients is not None:
            signal = abs(np.polyval(self.coefficients, signal))
        self.total = total = F(self.total + F(signal))
        if total < self.threshold:
            return False, total
        self.total = F(0)
        return True, total

    def record(self) -> None:
        self.recorded, self.total = True, F(0)


class PlainMagnitude(PlainGate):
    """MagCache's: the error of a calibrated curve."""

    def __init__(
        self,
        ratios: Sequence[float],
        threshold: float,
        max_skip: int,
        retention: float,
        num_steps: int,
    ) -> None:
        self.ratios, self.threshold, self.max_skip = ratios, F(threshold), max_skip
        self.retained = int(retention * num_steps + 0.5)
        self.reset()

    def reset(self) -> None:
        self.ratio, self.error, self.skipped = F(1), F(0), 0

    def decide(self, step: int, signal: float) -> tuple[bool, float]:
        del signal
        if step < self.retained:
            return True, NAN
        known = step < len(self.ratios)
        self.ratio *= F(self.ratios[step]) if known else F(1)
        self.error += abs(F(1) - self.ratio)
        self.skipped += 1
        error = self.error
        if self.recorded and error <= self.threshold and self.skipped <= self.max_skip:
            return False, error
        self.reset()
        return True, error

    def record(self) -> None:
        self.recorded = True
        self.reset()


class PlainForcing(PlainGate):
    """A gate around another, which is asked where nothing is forced."""

    def __init__(self, inner: PlainGate) -> None:
        self.inner = inner
        self.row = self.all = 0

    def forces(self, step: int) -> bool:
        raise NotImplementedError

    def decide(self, step: int, signal: float) -> tuple[bool, float]:
        if self.forces(step):
            return True, NAN
        run, shown = self.inner.decide(step, signal)
        self.row, self.all = self.row + (not run), self.all + (not run)
        return run, shown

    def record(self) -> None:
        self.row = 0
        self.inner.record()


class PlainWarmUp(PlainForcing):
    def __init__(self, inner: PlainGate, steps: int, interval: int) -> None:
        super().__init__(inner)
        self.warm = range(0, steps, interval)

    def forces(self, step: int) -> bool:
        return step in self.warm


class PlainForcedSteps(PlainForcing):
    def __init__(self, inner: PlainGate, mask: Sequence[bool]) -> None:
        super().__init__(inner)
        self.mask = mask

    def forces(self, step: int) -> bool:
        return bool(self.mask[step]) if step < len(self.mask) else False


class PlainLastStep(PlainForcing):
    def __init__(self, inner: PlainGate, num_steps: int) -> None:
        super().__init__(inner)
        self.last = num_steps - 1

    def forces(self, step: int) -> bool:
        return step == self.last


class PlainMaxConsecutive(PlainForcing):
    def __init__(self, inner: PlainGate, skips: int) -> None:
        super().__init__(inner)
        self.skips = skips

    def forces(self, step: int) -> bool:
        return 0 <= self.skips <= self.row


class PlainMaxSkips(PlainMaxConsecutive):
    def forces(self, step: int) -> bool:
        return 0 <= self.skips <= self.all


def plain_walk(gate: PlainGate, signals: Sequence[float]) -> tuple[list, list]:
    """Which steps run, and what was compared at each."""
    ran, shown = [], []
    for step, signal in enumerate(signals):
        run, compared = gate.decide(step, signal)
        if run:
            gate.record()
        ran.append(bool(run))
        shown.append(float(compared))
    return ran, shown
