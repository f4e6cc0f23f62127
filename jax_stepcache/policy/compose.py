"""Policies of one's own, from a signal, a gate and a forecast around a span."""

from __future__ import annotations

from typing import Any

import jax

from jax_stepcache.errors import naming_arguments
from jax_stepcache.kept import kept
from jax_stepcache.policy.forecasts import (
    Aligned,
    LinearX0,
    Offset,
    get_forecast,
    is_forecast,
)
from jax_stepcache.policy.gates import Gate, needs_signal
from jax_stepcache.policy.policy import Composed
from jax_stepcache.policy.signals import Nothing, Signal
from jax_stepcache.policy.span import Span, get_span

# What can be seen from around the whole forward, and from within it.
_AROUND = ("velocity", "sample", "nothing")
_FIRST = ("first blocks", "probe")
_WITHIN = ("blocks", "first blocks", "probe", "modulated", "times", "sample", "nothing")


@naming_arguments()
def compose(
    *,
    gate: Gate,
    signal: Signal | None = None,
    forecast: Any = "hold",
    span: Span | str | None = None,
) -> Composed:
    """Makes a policy of its parts.

    StepCache's gate with a line instead of a hold, for one::

        compose(signal=Cosine(), gate=Tiers([0.95], [4]), forecast="linear")

    Args:
        gate: when to reuse; combinators (`WarmUp`, `MaxConsecutive`, `MaxSkips`,
            `LastStep`, `ForcedSteps`) wrap other gates.
        signal: what the gate looks at; None for gates that follow a schedule.
        forecast: what is reused; see `get_forecast`.
        span: what is skipped: ``"network"`` (the whole guided forward, None likewise),
            ``"blocks"`` (all blocks), or a `Span`.

    Returns:
        The policy, for ``sample(..., cache=policy)``.

    Raises:
        ValueError: if the parts do not go together.
        TypeError: if one is not of its kind.
    """
    signal = Nothing() if signal is None else signal
    for what, part, method in (("signal", signal, "measure"), ("gate", gate, "decide")):
        if not callable(getattr(part, method, None)) or isinstance(part, type):
            raise TypeError(f"{what} is {part!r}; it must have a method {method!r}")
    span = get_span(span)
    forecasts = get_forecast(forecast)
    looks_at = getattr(signal, "looks_at", "nothing")
    seen = _AROUND if span is None else _WITHIN
    if looks_at not in seen:
        raise ValueError(
            f"{type(signal).__name__} looks at the {looks_at}, which a policy with "
            f"span={span!r} does not see. It sees: {', '.join(seen)}"
        )
    if span is not None and looks_at in _FIRST and span.first < 1:
        raise ValueError(
            f"{type(signal).__name__} looks at what the first blocks add; give a span "
            "with first=1 or more (Fn_compute_blocks)"
        )
    for one in jax.tree.leaves(forecasts, is_leaf=is_forecast):
        _check_sees(one, span)
    if span is not None and not is_forecast(forecasts):
        raise ValueError(
            "inside the network the outputs are not apart yet: give one forecast, not "
            f"one for each of {sorted(forecasts)}"
        )
    if isinstance(signal, Nothing) and needs_signal(gate):
        raise ValueError(
            f"{type(gate).__name__} compares a signal, and none is given: it would "
            "never reuse. Give signal="
        )
    return Composed(kept(signal), kept(gate), kept(forecasts), span)


def _check_sees(forecast: Any, span: Span | None) -> None:
    """Checks that what a forecast needs to see is there.

    Raises:
        ValueError: naming what is not.
    """
    if span is not None and isinstance(forecast, LinearX0 | Offset):
        name = "linear_x0" if isinstance(forecast, LinearX0) else "offset"
        what = (
            "extrapolates what a velocity says of the clean sample"
            if isinstance(forecast, LinearX0)
            else "holds how far a velocity is from the sample"
        )
        raise ValueError(
            f"forecast {name!r} {what}; inside the network there is no velocity. Use "
            "'hold', 'linear', 'damped', 'taylor', 'hermite', 'foca', 'dmd' or 'newton'"
        )
    if isinstance(forecast, Aligned) and (span is None or span.first < 1):
        raise ValueError(
            "forecast 'aligned' goes as far as the first blocks have gone; give a span "
            "with first=1 or more (probe_depth)"
        )
