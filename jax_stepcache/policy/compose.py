"""Policies of one's own, from a signal, a gate and a forecast around a span."""

from __future__ import annotations

from typing import Any

import jax

from jax_stepcache.errors import naming_arguments
from jax_stepcache.kept import kept
from jax_stepcache.policy.forecasts import LinearX0, get_forecast, is_forecast
from jax_stepcache.policy.gates import Gate, needs_signal
from jax_stepcache.policy.policy import Composed
from jax_stepcache.policy.signals import Nothing, Signal
from jax_stepcache.policy.span import Span, get_span

# What can be seen from around the whole forward, and from within it.
_AROUND = ("velocity", "sample", "nothing")
_WITHIN = ("blocks", "first blocks", "modulated", "times", "sample", "nothing")


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
    if span is not None and looks_at == "first blocks" and span.first < 1:
        raise ValueError(
            f"{type(signal).__name__} looks at what the first blocks add; give a span "
            "with first=1 or more (Fn_compute_blocks)"
        )
    each = jax.tree.leaves(forecasts, is_leaf=is_forecast)
    if span is not None and any(isinstance(one, LinearX0) for one in each):
        raise ValueError(
            "forecast 'linear_x0' extrapolates what a velocity says of the clean "
            "sample; inside the network there is no velocity. Use 'hold', 'linear', "
            "'damped', 'taylor' or 'newton'"
        )
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
