"""Progress from inside the compiled loop."""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback

# More are not under way at once.
_MOST_BARS = 256


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


class _Bar:
    """One generation's bar."""

    def __init__(self) -> None:
        self.shown: Any = None
        self.calls = 0
        self.thread = 0

    def close(self) -> None:
        """Takes it off the screen; it can be shown again."""
        if self.shown is not None:
            self.shown.close()
            self.shown = None


class TqdmProgress:
    """tqdm bars, one for each generation: steps taken, and model calls beside them.

    Generations share a compiled program, and with it this object, whichever thread they
    run in. So the first report of each asks for a bar, and the loop carries its number.
    """

    def __init__(self) -> None:
        try:
            import tqdm.auto
        except ImportError as error:
            raise ImportError(
                "progress=True needs tqdm: pip install 'jax-stepcache[progress]'"
            ) from error
        self._open = tqdm.auto.tqdm
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._bars: dict[int, _Bar] = {}

    def __call__(
        self, step: Any, computed: Any, bar: Any, *, num_steps: int
    ) -> np.ndarray:
        """Takes in a step: the first opens a bar, the last closes it.

        Args:
            step: see `Progress.__call__`.
            computed: likewise.
            bar: int32, the number of the generation's bar; 0 before it has one.
            num_steps: see `Progress.__call__`.

        Returns:
            int32, the number.
        """
        step, number = int(step), int(bar)
        with self._lock:
            if not number:
                number = next(self._numbers)
                self._leave_behind()
            one = self._bars.setdefault(number, _Bar())
            one.thread = threading.get_ident()
            one.calls += bool(computed)
            if one.shown is None:
                one.shown = self._open(total=num_steps, initial=step, unit="step")
            one.shown.set_postfix(model_calls=one.calls, refresh=False)
            one.shown.update()
            if step == num_steps - 1:
                one.close()
                del self._bars[number]
        return np.asarray(number, np.int32)

    def _leave_behind(self) -> None:
        """Closes bars of generations that have broken off: nobody else tells.

        A thread that begins another has left the one before, as far as one can see from
        here. Were it to go on, its next report would show its bar again.
        """
        here = threading.get_ident()
        for one in self._bars.values():
            if one.thread == here:
                one.close()
        while len(self._bars) >= _MOST_BARS:
            self._bars.pop(next(iter(self._bars))).close()


@functools.cache
def tqdm_progress() -> TqdmProgress:
    """The bars of the process, so that asking again compiles nothing new."""
    return TqdmProgress()


def no_bar(progress: Progress | TqdmProgress | None) -> jax.Array | None:
    """What the loop carries from report to report, before the first."""
    return jnp.zeros((), jnp.int32) if isinstance(progress, TqdmProgress) else None


def report(
    progress: Progress | TqdmProgress,
    step: jax.Array,
    num_steps: int,
    run: jax.Array | bool,
    bar: jax.Array | None,
) -> jax.Array | None:
    """Reports a step from inside a traced loop.

    Args:
        progress: where to.
        step: int32 scalar.
        num_steps: how many steps there are.
        run: whether the network ran.
        bar: what `no_bar` made, or the report before this one returned.

    Returns:
        What the next report is given.
    """
    # Ordered: an unordered or debug callback may be hoisted out of the loop.
    tell = functools.partial(progress, num_steps=num_steps)
    if bar is not None:
        return io_callback(tell, bar, step, run, bar, ordered=True)

    def told(step: Any, run: Any) -> None:
        # What a user's returns, as tqdm's `update` does, is no business of the loop.
        tell(step, run)

    io_callback(told, None, step, run, ordered=True)
    return None


def as_progress(given: Any) -> Any:
    """What is told of each step, of what was asked for.

    Args:
        given: True, False or None, or a function.

    Returns:
        A `Progress`, or None.

    Raises:
        TypeError: for what is called in another way.
    """
    if given is True:
        return tqdm_progress()
    if not given and isinstance(given, bool | None):
        return None
    if isinstance(given, TqdmProgress):
        return given
    if not callable(given) or isinstance(given, type) or not _takes_steps(given):
        raise TypeError(
            f"progress is {given!r:.80}; give True, False, or a function that takes "
            "(step, computed, num_steps=)"
        )
    return given


def _takes_steps(progress: Any) -> bool:
    """Whether it can be called as it will be: from inside the loop, it is too late."""
    try:
        inspect.signature(progress).bind(0, True, num_steps=1)
    except TypeError:
        return False
    except ValueError:  # One in C may not tell.
        return True
    return True
