"""The error of a target that nobody reaches."""

from __future__ import annotations

from jax_stepcache.calibration.result import Calibration
from jax_stepcache.loop.result import shown


class TargetNotReached(ValueError):
    """No setting that was looked at meets a calibration's target.

    Attributes:
        best: the calibration that came nearest, its `met` False; what was found is not
            lost: ``sample(params, **error.best.options)``.
    """

    def __init__(self, best: Calibration) -> None:
        super().__init__(best)
        self.best = best

    def __str__(self) -> str:
        best = self.best
        wanted = ", ".join(f"{name} {value:g}" for name, value in best.target.items())
        quality = ", ".join(f"{n or 'sample'} {q:.1f}" for n, q in best.quality.items())
        return shown(
            f"no setting of {best.cache!r} that was looked at meets {wanted}; the "
            f"nearest makes {best.model_calls:.2f} model calls and gives {quality} dB, "
            f"with {best.brief}; it is this error's .best"
        )


def reached(found: Calibration) -> Calibration:
    """Checks that what was found meets its target.

    Args:
        found: by any search.

    Returns:
        The same.

    Raises:
        TargetNotReached: if it does not, with what was found.
    """
    if not found.met:
        raise TargetNotReached(found)
    return found
