"""Progress from inside the compiled loop."""

from __future__ import annotations

import functools
from typing import Any, Protocol

import jax
from jax.experimental import io_callback


class Progress(Protocol):
    """Is told of each step, on the host. Hashable: it is static."""

    def __call__(self, step: Any, computed: Any, *, num_steps: int) -> None:
        """Takes in a step.

        Args:
            step: int32, the index of the step that has been taken.
            computed: bool, whether the network ran.
            num_steps: how many steps there are.
        """
        ...


class TqdmProgress:
    """A tqdm bar: steps taken, and model calls beside it."""

    def __init__(self) -> None:
        try:
            import tqdm.auto
        except ImportError as error:
            raise ImportError(
                "progress=True needs tqdm: pip install 'jax-stepcache[progress]'"
            ) from error
        self._open = tqdm.auto.tqdm
        self._bar: Any = None
        self._calls = 0

    def __call__(self, step: Any, computed: Any, *, num_steps: int) -> None:
        """See `Progress.__call__`; the first step opens the bar, the last closes it."""
        if int(step) == 0 or self._bar is None:
            self._bar = self._open(total=num_steps, unit="step")
            self._calls = 0
        self._calls += bool(computed)
        self._bar.set_postfix(model_calls=self._calls, refresh=False)
        self._bar.update()
        if int(step) == num_steps - 1:
            self._bar.close()
            self._bar = None


@functools.cache
def tqdm_progress() -> TqdmProgress:
    """The one tqdm bar of the process, so that asking again compiles nothing new."""
    return TqdmProgress()


def report(
    progress: Progress, step: jax.Array, num_steps: int, run: jax.Array | bool
) -> None:
    """Reports a step from inside a traced loop."""
    # Ordered: an unordered or debug callback may be hoisted out of the loop.
    io_callback(
        functools.partial(progress, num_steps=num_steps), None, step, run, ordered=True
    )
